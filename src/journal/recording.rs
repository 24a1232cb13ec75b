//! A run as one file: its plan and its journal, byte for byte as they were, so that their chain can still be proved.
//!
//! A gzip'd tar with three members, which any tool opens: `recording.json` ([`RecordingHead`]), `plan.json`, `journal.jsonl`.

use super::chain::sha256_hex;
use super::file::open_file;
use super::head::Held;
use super::reader::scan;
use super::{Chain, JournalError, Record};
use crate::fleet::{ClusterName, RunId, clean, quoted, read_clean};
use crate::plan::Plan;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;
/// What a member may come to when it is unpacked: a plan of 15,000 nodes, and a journal of them with room. Bytes.
const LARGEST: u64 = 1 << 30;

/// Whose run it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordingHead {
    /// The file's format.
    pub format: u32,
    /// The run.
    pub run: RunId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Who started it.
    pub operator: String,
    /// When.
    pub started: Timestamp,
}

impl RecordingHead {
    /// Of a run, in today's format.
    pub fn new(run: RunId, cluster: ClusterName, operator: String, started: Timestamp) -> RecordingHead {
        RecordingHead { format: FORMAT, run, cluster, operator, started }
    }
}

/// A run that is over, or was at the moment of the recording.
#[derive(Debug)]
pub struct Recording {
    /// Whose run it is.
    pub about: RecordingHead,
    /// What was planned.
    pub plan: Plan,
    /// What happened.
    pub records: Vec<Record>,
    /// Whether the journal follows from the plan, line by line.
    pub chain: Chain,
}

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It can be read, but is not what it should be.
    #[error("{path} is no recording of sonoba: {why}; make one with: sonoba export RUN --recording FILE.sonoba")]
    Bad {
        /// The file.
        path: String,
        /// In words.
        why: String,
    },
}

/// A recording of these two files, as the file's bytes.
///
/// # Errors
/// When something cannot be read.
pub fn record(about: &RecordingHead, plan: &Path, journal: &Path) -> Result<Vec<u8>, RecordingError> {
    let io = |path: &Path| {
        let path = clean(&path.to_string_lossy());
        move |source| RecordingError::Io { path, source }
    };
    let to = Path::new("recording.json");
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    let mut head = serde_json::to_vec_pretty(about).map_err(|e| io(to)(e.into()))?;
    head.push(b'\n');
    member(&mut tar, "recording.json", head.len() as u64, &head[..]).map_err(io(to))?;
    for (name, path) in [("plan.json", plan), ("journal.jsonl", journal)] {
        let source = open_file(path, OpenOptions::new().read(true)).map_err(io(path))?;
        // The journal of a run that goes on may grow meanwhile.
        let size = source.metadata().map_err(io(path))?.len();
        member(&mut tar, name, size, source.take(size)).map_err(io(path))?;
    }
    tar.into_inner().and_then(GzEncoder::finish).map_err(io(to))
}

fn member(tar: &mut tar::Builder<impl Write>, name: &str, size: u64, content: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header.set_cksum();
    tar.append_data(&mut header, name, content)
}

/// Reads a recording. A journal whose chain is broken is no error: it is in the answer.
///
/// # Errors
/// When the file cannot be read, or is no recording.
pub fn read_recording(path: &Path) -> Result<Recording, RecordingError> {
    let shown = clean(&path.to_string_lossy());
    let file = File::open(path).map_err(|source| RecordingError::Io { path: shown.clone(), source })?;
    unpack(BufReader::new(file), path).map_err(|why| RecordingError::Bad { path: shown, why })
}

/// Reads a recording's bytes; errors in words.
pub(crate) fn unpack(bytes: impl Read, path: &Path) -> Result<Recording, String> {
    let said = |e: io::Error| clean(&e.to_string());
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(3 * LARGEST));
    let (mut about, mut plan) = (None::<RecordingHead>, None::<(Plan, String)>);
    for entry in archive.entries().map_err(said)? {
        let mut entry = entry.map_err(said)?;
        let name = entry.path().map_err(said)?.to_string_lossy().into_owned();
        if entry.size() > LARGEST {
            return Err(format!("{} is longer than any that sonoba writes", quoted(&name)));
        }
        match name.as_str() {
            "recording.json" => {
                let head: RecordingHead =
                    serde_json::from_slice(&whole(&mut entry)?).map_err(|e| clean(&e.to_string()))?;
                if head.format != FORMAT {
                    return Err(format!("it has format {}, this sonoba reads format {FORMAT}", head.format));
                }
                about = Some(RecordingHead { operator: clean(&head.operator), ..head });
            }
            "plan.json" => {
                let text = whole(&mut entry)?;
                let read = read_clean(&text).map_err(|e| format!("its plan: {}", clean(&e.to_string())))?;
                plan = Some((read, sha256_hex(&text)));
            }
            "journal.jsonl" => {
                let (Some(about), Some((plan, hash))) = (about.take(), plan.take()) else {
                    return Err("its journal comes before its plan".into());
                };
                let mut records = Vec::new();
                let found = scan(path, entry, Some(hash), Held::against(None), |record| records.push(record))
                    .map_err(|e: JournalError| clean(&e.to_string()))?;
                return match records.is_empty() {
                    true => Err("nothing happened in it".into()),
                    false => Ok(Recording { about, plan, records, chain: found.chain }),
                };
            }
            other => return Err(format!("it has a member {} that no recording has", quoted(other))),
        }
    }
    Err("it has no journal".into())
}

fn whole(entry: &mut impl Read) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    entry.take(LARGEST).read_to_end(&mut text).map_err(|e| clean(&e.to_string()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Event, Writer};

    /// A recording of a run that wrote three notes.
    fn recorded(dir: &Path) -> std::path::PathBuf {
        let (plan, journal, to) = (dir.join("plan.json"), dir.join("journal.jsonl"), dir.join("run.sonoba"));
        let text = include_str!("../fuzzing/plan.json");
        std::fs::write(&plan, text).unwrap();
        let mut writer = Writer::create(&journal, &sha256_hex(text.as_bytes())).unwrap();
        for note in ["one", "two", "three"] {
            writer.append(Timestamp::UNIX_EPOCH, Event::Note { text: note.into() }, false).unwrap();
        }
        let head = RecordingHead::new(
            "r1".parse().unwrap(),
            "tokyo0".parse().unwrap(),
            "satoru".into(),
            Timestamp::UNIX_EPOCH,
        );
        std::fs::write(&to, record(&head, &plan, &journal).unwrap()).unwrap();
        to
    }

    #[test]
    fn what_was_recorded_reads_back_with_its_chain() {
        let dir = tempfile::tempdir().unwrap();
        let file = recorded(dir.path());
        let found = read_recording(&file).unwrap();
        assert_eq!((found.about.run.as_str(), found.records.len(), found.chain), ("r1", 3, Chain::Ok));
        // Nothing else was left in the folder.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
        // A journal that does not follow from the plan is told, not refused.
        let plan = dir.path().join("plan.json");
        std::fs::write(&plan, std::fs::read_to_string(&plan).unwrap() + "\n").unwrap();
        let again = record(&found.about, &plan, &dir.path().join("journal.jsonl")).unwrap();
        std::fs::write(&file, again).unwrap();
        assert_eq!(read_recording(&file).unwrap().chain, Chain::Broken { line: 1 });
    }

    #[test]
    fn what_is_no_recording_is_refused_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let file = recorded(dir.path());
        let whole = std::fs::read(&file).unwrap();
        let said = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            read_recording(&file).unwrap_err().to_string()
        };
        for bytes in [&b""[..], b"hello", &whole[..whole.len() / 2], &whole[..20]] {
            let error = said(bytes);
            assert!(error.contains("run.sonoba is no recording") && error.contains("sonoba export"), "{error}");
        }
        let missing = read_recording(&dir.path().join("none.sonoba")).unwrap_err().to_string();
        assert!(missing.contains("none.sonoba: No such file"), "{missing}");
    }
}
