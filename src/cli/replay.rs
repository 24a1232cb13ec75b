//! `sonoba replay` and `sonoba export`: a run as it was, on the screens and as a file.

use super::args::{ExportArgs, Global, ReplayArgs};
use super::failure::Failure;
use super::{logging, output, places, runs, say, settings};
use crate::engine::RunDir;
use crate::fleet::clean;
use crate::journal::{self, Chain, Recording, RecordingHead};
use crate::tui::{self, Tape, TapeFrom};
use jiff::{SignedDuration, Timestamp};
use std::path::Path;
use std::str::FromStr;

/// `sonoba replay`.
pub(super) async fn run(global: &Global, args: &ReplayArgs) -> Result<(), Failure> {
    let recording = find(global, &args.run)?;
    let _guard = logging::to_file(&places::state_dir(global)?.join("cockpit.log"))?;
    let from = args.at.as_ref().map_or(TapeFrom::Offset(SignedDuration::ZERO), |at| at.0);
    let chain = recording.chain;
    tui::play(Tape { recording, speed: args.speed, from }, settings::looks(global)?).await.map_err(Failure::failed)?;
    runs::refuse_broken(&args.run, chain)
}

/// `sonoba export`. A run whose journal was changed is written as well, for whoever wants to look at it.
///
/// # Errors
/// Also when it was: then after it is written.
pub(super) async fn export(global: &Global, args: &ExportArgs) -> Result<(), Failure> {
    let mut chain = Chain::Ok;
    if let Some(to) = &args.what.recording {
        let run = runs::find(global, &args.run)?;
        let about = run.about();
        let (id, cluster, operator) = (about.id.clone(), about.cluster.clone(), about.operator.clone());
        let head = RecordingHead::new(id, cluster, operator, about.created);
        // A journal that is not what its sealed head says is not recorded: of the recording nobody could tell.
        journal::read(&run.journal()).map_err(Failure::failed)?;
        let recording = journal::record(&head, &run.path().join("plan.json"), &run.journal());
        let recording = recording.map_err(Failure::failed)?;
        // What is written is what counts.
        let read = journal::unpack(&recording[..], to);
        chain = read.map_err(|why| Failure::failed(format!("the recording cannot be read back: {why}")))?.chain;
        export_to(to, &recording, "sonoba replay")?;
    }
    if let Some(to) = &args.what.cast {
        let recording = find(global, &args.run)?;
        chain = recording.chain;
        let tape = Tape { recording, speed: args.speed, from: TapeFrom::Offset(SignedDuration::ZERO) };
        let size = (args.columns, args.rows);
        let cast = tokio::task::spawn_blocking(move || tui::cast(tape, size)).await.map_err(Failure::failed)?;
        export_to(to, cast.map_err(Failure::failed)?.as_bytes(), "asciinema play")?;
    }
    runs::refuse_broken(&args.run, chain)
}

/// A recording's file, or a run that was carried out here.
fn find(global: &Global, word: &str) -> Result<Recording, Failure> {
    let path = Path::new(word);
    let recording = if path.is_file() {
        journal::read_recording(path).map_err(Failure::failed)?
    } else {
        of(&runs::find(global, word)?)?
    };
    if let Chain::Broken { line } = recording.chain {
        let told = format!(
            "{}: the journal's chain is broken at line {line}: it was changed after it was written",
            clean(word)
        );
        say::err(format!("warning: {told}"));
    }
    Ok(recording)
}

fn of(run: &RunDir) -> Result<Recording, Failure> {
    let (plan, hash) = run.plan().map_err(Failure::failed)?;
    let journal = journal::read_for(&run.journal(), &hash).map_err(Failure::failed)?;
    let about = run.about();
    let head = RecordingHead::new(about.id.clone(), about.cluster.clone(), about.operator.clone(), about.created);
    Ok(Recording { about: head, plan, records: journal.records, chain: journal.chain })
}

/// Writes a file of `bytes`, and says how it is played, unless it is printed.
fn export_to(to: &Path, bytes: &[u8], player: &str) -> Result<(), Failure> {
    let shown = clean(&to.to_string_lossy());
    output::write(to, bytes).map_err(|e| Failure::failed(format!("{shown}: cannot be written: {e}")))?;
    if !output::is_standard(to) {
        say::out(format!("written to {shown}; play it with: {player} {shown}"));
    }
    Ok(())
}

/// `--at`: `12m30s` after the beginning, `-1m` before the end, or a moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct At(TapeFrom);

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<At, String> {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Ok(At(TapeFrom::Moment(moment)));
        }
        let offset = text.parse::<SignedDuration>().map_err(|_| {
            format!(
                "{:?} is no place on a tape; write 12m30s, -1m (before the end) or 2026-11-26T02:00:00Z",
                clean(text)
            )
        })?;
        Ok(At(TapeFrom::Offset(offset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_on_a_tape_is_an_offset_or_a_moment() {
        let offset = |s| Ok(At(TapeFrom::Offset(SignedDuration::from_secs(s))));
        assert_eq!("12m30s".parse(), offset(750));
        assert_eq!("-1m".parse(), offset(-60));
        let moment = "2026-11-26T02:00:00Z".parse().unwrap();
        assert_eq!("2026-11-26T02:00:00Z".parse(), Ok(At(TapeFrom::Moment(moment))));
        assert!("noon".parse::<At>().unwrap_err().contains("12m30s"));
    }
}
