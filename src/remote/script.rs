//! The swap script's command line and its answers: written and read here only, by the client and by the simulator.

use super::contract::{Fence, TxEnd, TxId, TxState, TxStep};
use super::limits;
use super::port::NodeError;
use crate::fleet::{ContainerName, FenceToken, clean, clean_short, quoted, without_command};
use crate::journal::{Step, Verdict};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// The script, as it is put on nodes.
pub const SCRIPT: &str = include_str!("swap.sh");

/// The script's file name on a node. It carries the script's hash, so that two versions of sonoba never meet in one file.
static FILE: LazyLock<String> = LazyLock::new(|| {
    let hash = Sha256::digest(SCRIPT.as_bytes());
    let hex: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("swap-{hex}.sh")
});

/// What every command begins with. The folder is this user's and only he can write to it, or it is not there yet: anybody
/// else could have put a script of his own in the place of ours. Not in the script, which would come too late. Without a
/// single quote, so that any login shell hands it on to `sh` as it is.
const GUARD: &str = "d=${HOME:?is not set}/.sonoba; \
    if test -e \"$d\" || test -L \"$d\"; then \
    test -O \"$d\" && case $(ls -ld \"$d\") in d????-??-*) true ;; *) false ;; esac || { \
    echo \"sonoba swap: $d is not a folder of this user alone: somebody else made it, linked it or can write to it. \
    Look at what is in it, then remove it\" >&2; exit 3; }; fi";

/// What stands before the script's arguments. A script that is not whole (a node that lost power may have an empty file)
/// is as good as none: cut off between two of its functions it would say nothing and call that success.
static LAUNCH: LazyLock<String> = LazyLock::new(|| {
    format!(
        "exec sh -c '{GUARD}; f=$d/{}; test -f \"$f\" && test $(wc -c <\"$f\") -eq {} || {{ \
         echo \"no whole script: $f\" >&2; exit 127; }}; exec sh \"$f\" \"$@\"' sonoba ",
        *FILE,
        SCRIPT.len()
    )
});

/// What the client asks of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Put the script, which comes on standard input, in its place.
    Install,
    /// Start the critical section.
    Begin {
        /// The transaction.
        tx: TxId,
        /// The dead-man's switch. Milliseconds from the first stop.
        deadline_ms: u64,
        /// Seconds that a container may take to stop.
        stop_timeout_s: u32,
        /// The containers, in order.
        containers: Vec<ContainerName>,
        /// By what right.
        fence: Fence,
    },
    /// Tell what is known of a transaction.
    State(TxId),
    /// Give a verdict; answers with the one that stands.
    Verdict(TxId, Verdict, Fence),
    /// Take over from a runner that is gone.
    Recover(TxId, Fence),
    /// Remove a transaction that has ended.
    Forget(TxId),
}

impl Request {
    /// The command for SSH's exec. Only validated names and numbers are filled in.
    pub fn command(&self) -> String {
        let run = |rest: String| format!("{}{rest}", *LAUNCH);
        match self {
            Request::Install => {
                // A connection that breaks looks like the end of the input, so the length is checked.
                format!(
                    "exec sh -c '{GUARD}; f=$d/{}; umask 077 && mkdir -p \"$d/tx\" && cat >\"$f.$$\" && \
                     if test $(wc -c <\"$f.$$\") -eq {}; then mv -f \"$f.$$\" \"$f\"; \
                     else rm -f \"$f.$$\"; echo \"sonoba swap: the script came cut off\" >&2; exit 4; fi'",
                    *FILE,
                    SCRIPT.len()
                )
            }
            Request::Begin { tx, deadline_ms, stop_timeout_s, containers, fence } => {
                let names: Vec<&str> = containers.iter().map(ContainerName::as_str).collect();
                run(format!("begin {tx} {} {deadline_ms} {stop_timeout_s} {}", right(fence), names.join(" ")))
            }
            Request::State(tx) => run(format!("state {tx}")),
            Request::Verdict(tx, Verdict::Commit, fence) => run(format!("commit {tx} {}", right(fence))),
            Request::Verdict(tx, Verdict::Rollback, fence) => run(format!("rollback {tx} {}", right(fence))),
            Request::Recover(tx, fence) => run(format!("recover {tx} {}", right(fence))),
            Request::Forget(tx) => run(format!("forget {tx}")),
        }
    }

    /// Reads what [`Request::command`] wrote; for the simulator.
    pub fn parse(command: &str) -> Option<Request> {
        if command == Request::Install.command() {
            return Some(Request::Install);
        }
        let mut words = command.strip_prefix(LAUNCH.as_str())?.split(' ');
        let verb = words.next()?;
        let tx: TxId = words.next()?.parse().ok()?;
        let mut fence = || {
            let token = FenceToken::new(words.next()?.parse().ok()?);
            Some(Fence { token, run: words.next()?.parse().ok()?, until_ms: words.next()?.parse().ok()? })
        };
        let request = match verb {
            "begin" => Request::Begin {
                tx,
                fence: fence()?,
                deadline_ms: words.next()?.parse().ok()?,
                stop_timeout_s: words.next()?.parse().ok()?,
                containers: words.by_ref().map(|w| w.parse().ok()).collect::<Option<_>>()?,
            },
            "state" => Request::State(tx),
            "commit" => Request::Verdict(tx, Verdict::Commit, fence()?),
            "rollback" => Request::Verdict(tx, Verdict::Rollback, fence()?),
            "recover" => Request::Recover(tx, fence()?),
            "forget" => Request::Forget(tx),
            _ => return None,
        };
        words.next().is_none().then_some(request)
    }
}

/// A fence as the script takes it.
fn right(fence: &Fence) -> String {
    format!("{} {} {}", fence.token, fence.run, fence.until_ms)
}

/// The script's exit code where it refuses for want of the run lock.
pub const FENCED: u32 = 5;

/// The first line that the script writes then: `fenced late UPTIME`, or `fenced newer TOKEN`.
pub fn write_fenced(newer: Option<FenceToken>, uptime_ms: u64) -> String {
    match newer {
        Some(token) => format!("fenced newer {token}\n"),
        None => format!("fenced late {uptime_ms}\n"),
    }
}

/// Reads what the script wrote when it ended with [`FENCED`]; `why` is what it said for people.
pub fn read_fenced(out: &str, why: String) -> NodeError {
    let newer = out.lines().next().and_then(|line| line.strip_prefix("fenced newer ")?.trim().parse().ok());
    NodeError::Fenced { newer: newer.map(FenceToken::new), why }
}

const STEPS: [(&str, Step); 8] = [
    ("begun", Step::Begun),
    ("stopping", Step::Stopping),
    ("stopped", Step::Stopped),
    ("started", Step::Started),
    ("waiting", Step::Waiting),
    ("restoring", Step::Restoring),
    ("restored", Step::Restored),
    ("removed", Step::Removed),
];

/// The word for a verdict, in the script's answers and in its verdict file.
pub fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Commit => "commit",
        Verdict::Rollback => "rollback",
    }
}

/// Reads a verdict's word.
pub fn read_verdict(word: &str) -> Option<Verdict> {
    match word.trim() {
        "commit" => Some(Verdict::Commit),
        "rollback" => Some(Verdict::Rollback),
        _ => None,
    }
}

/// Writes the answer to `state` as the script does:
///
/// ```text
/// sonoba-tx 1
/// uptime 8123450
/// found yes
/// alive yes
/// step 8120010 stopping kubelet
/// verdict commit
/// end committed
/// why the deadline passed without a verdict
/// .
/// ```
pub fn write_state(state: &TxState) -> String {
    use std::fmt::Write;
    let yes = |b| if b { "yes" } else { "no" };
    let mut out =
        format!("sonoba-tx 1\nuptime {}\nfound {}\nalive {}\n", state.uptime_ms, yes(state.found), yes(state.alive));
    for s in &state.steps {
        let word = STEPS.iter().find(|(_, step)| *step == s.step).map_or("begun", |(word, _)| word);
        let _ = writeln!(out, "{}", format!("step {} {word} {}", s.uptime_ms, s.container).trim_end());
    }
    if let Some(verdict) = state.verdict {
        let _ = writeln!(out, "verdict {}", verdict_word(verdict));
    }
    if let Some(end) = state.end {
        let word = match end {
            TxEnd::Committed => "committed",
            TxEnd::RolledBack => "rolled-back",
            TxEnd::Broken => "broken",
            TxEnd::Foreign => "foreign",
        };
        let _ = writeln!(out, "end {word}");
    }
    if !state.why.is_empty() {
        let _ = writeln!(out, "why {}", clean(&state.why));
    }
    out.push_str(".\n");
    out
}

/// Reads the script's answer to `state`. The node is not trusted: whatever does not fit is an error, never a guess.
///
/// # Errors
/// When it is not such an answer, or is not whole.
pub fn read_state(text: &str) -> Result<TxState, String> {
    let bad = |line: &str| format!("the node's answer has a line that does not fit: {}", quoted(line));
    let mut lines = text.lines();
    if lines.next() != Some("sonoba-tx 1") {
        return Err(bad(text.lines().next().unwrap_or("")));
    }
    let mut state = TxState::default();
    for line in lines {
        if line == "." {
            return Ok(state);
        }
        let (key, value) = line.split_once(' ').ok_or_else(|| bad(line))?;
        let yes = || match value {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(bad(line)),
        };
        match key {
            "uptime" => state.uptime_ms = value.parse().map_err(|_| bad(line))?,
            "found" => state.found = yes()?,
            "alive" => state.alive = yes()?,
            "step" => {
                let mut words = value.splitn(3, ' ');
                let uptime_ms = words.next().and_then(|w| w.parse().ok()).ok_or_else(|| bad(line))?;
                let word = words.next().unwrap_or("");
                let step = STEPS.iter().find(|(w, _)| *w == word).ok_or_else(|| bad(line))?.1;
                let container = match words.next().filter(|w| !w.is_empty()) {
                    Some(name) => name.parse::<ContainerName>().map_err(|_| bad(line))?.to_string(),
                    None => String::new(),
                };
                if state.steps.len() == limits::STEPS {
                    return Err("the node tells of more steps than a transaction can have".into());
                }
                state.steps.push(TxStep { uptime_ms, step, container });
            }
            "verdict" => state.verdict = Some(read_verdict(value).ok_or_else(|| bad(line))?),
            "end" => {
                state.end = Some(match value {
                    "committed" => TxEnd::Committed,
                    "rolled-back" => TxEnd::RolledBack,
                    "broken" => TxEnd::Broken,
                    "foreign" => TxEnd::Foreign,
                    _ => return Err(bad(line)),
                })
            }
            "why" => state.why = clean_short(&without_command(value), 400),
            _ => return Err(bad(line)),
        }
    }
    Err("the node's answer is cut off".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_reads_back() {
        let tx: TxId = "r1.n1.s1.1".parse().unwrap();
        let fence = Fence { token: FenceToken::new(29_934_000), run: "r1".parse().unwrap(), until_ms: 8_123_450 };
        for request in [
            Request::Install,
            Request::Begin {
                tx: tx.clone(),
                deadline_ms: 25_000,
                stop_timeout_s: 10,
                containers: vec!["rivers".parse().unwrap(), "kubelet".parse().unwrap()],
                fence: fence.clone(),
            },
            Request::State(tx.clone()),
            Request::Verdict(tx.clone(), Verdict::Commit, fence.clone()),
            Request::Verdict(tx.clone(), Verdict::Rollback, fence.clone()),
            Request::Recover(tx.clone(), fence),
            Request::Forget(tx),
        ] {
            assert_eq!(Request::parse(&request.command()), Some(request));
        }
    }

    #[test]
    fn a_refusal_for_want_of_the_lock_reads_back() {
        let fenced = |newer| NodeError::Fenced { newer, why: "no".into() };
        for newer in [None, Some(FenceToken::new(7))] {
            assert_eq!(read_fenced(&write_fenced(newer, 12), "no".into()), fenced(newer));
        }
        assert_eq!(read_fenced("nonsense", "no".into()), fenced(None));
    }

    #[test]
    fn a_state_reads_back_and_a_cut_one_is_refused() {
        let state = TxState {
            found: true,
            alive: false,
            uptime_ms: 12,
            steps: vec![
                TxStep { uptime_ms: 3, step: Step::Begun, container: String::new() },
                TxStep { uptime_ms: 5, step: Step::Stopping, container: "kubelet".into() },
            ],
            verdict: Some(Verdict::Rollback),
            end: Some(TxEnd::RolledBack),
            why: "no verdict".into(),
        };
        let text = write_state(&state);
        assert_eq!(read_state(&text), Ok(state));
        for cut in 0..text.len() - 1 {
            assert!(read_state(&text[..cut]).is_err(), "{cut}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_answer_is_read_or_refused(text in "(sonoba-tx 1\n)?(\\PC|\n){0,200}") {
            let _ = read_state(&text);
        }
    }
}
