//! The words of the command line (DESIGN.md, 9). Stable: others script against them.

use super::replay::At;
use crate::fleet::{ClusterName, Label};
use crate::plan::{Bandwidth, Ramp};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Upgrades the Kubernetes components of running bare-metal clusters in place: no node drained, no pod evicted.
///
/// Without a command: the cockpit.
#[derive(Debug, Parser)]
#[command(name = "sonoba", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(super) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 plan refused (preflight errors, edited, or the cluster \
is not as planned); 4 the run ended paused or aborted.";

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Global {
    /// The cluster's profile
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "cluster")]
    pub profile: Option<PathBuf>,
    /// The cluster, by the name of its profile in the configuration folder (clusters/NAME.toml)
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<ClusterName>,
    /// Where the run folders are [default: the platform's state folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// How the cockpit looks: dark, light, high-contrast, colour-blind, sixteen, gruvbox, catppuccin, or one of your own
    #[arg(long, global = true, value_name = "NAME", help_heading = "Looks")]
    pub theme: Option<String>,
    /// The cockpit's keys: default, vim, emacs, or some of your own
    #[arg(long, global = true, value_name = "NAME", help_heading = "Looks")]
    pub keymap: Option<String>,
    /// Paint nothing but ASCII
    #[arg(long, global = true, help_heading = "Looks")]
    pub ascii: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Preview an upgrade; nothing is touched
    Plan(Box<PlanArgs>),
    /// Carry out a plan, exactly as it reads
    Apply(ApplyArgs),
    /// Let what is in flight finish and start nothing new
    Pause(RunArg),
    /// Go on with a paused run, or with one whose engine has died
    Resume(RunArg),
    /// Start nothing new, roll back what is not committed, end the run
    Abort(RunArg),
    /// Take back what a run did that has ended: a plan of its own, in the inverse order, and a run of its own
    Rollback(RollbackArgs),
    /// Try nodes again that failed, rolled back or were skipped, and ask the gate that is waited for at once
    Retry(RetryArgs),
    /// Leave nodes as they are, by decision; the report names them
    Skip(SkipArgs),
    /// Pass the gate that the run waits for, although it does not hold; the report says so
    Override(OverrideArgs),
    /// Watch a run as it happens, read-only
    Watch(RunArg),
    /// Play a run that was recorded, or carried out here, on the cockpit's screens
    Replay(ReplayArgs),
    /// Write a run as one file: a recording, or a film for asciinema
    Export(ExportArgs),
    /// List runs: all that ran here, or those of --cluster or --profile
    Runs(RunsArgs),
    /// What a run came to
    Report(ReportArgs),
    /// The engine itself; started by the other commands in a session of its own
    #[command(hide = true)]
    Engine(EngineArgs),
    /// The cockpit on a simulated cluster; nothing to install, nothing to clean up
    Demo(SimArgs),
    /// A simulated cluster alone, in the foreground, for other terminals
    Sim(SimServeArgs),
    /// What is wrong with this setup, line by line, with the command that mends it
    Doctor,
    /// Completions for a shell, on standard output
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["release", "bump", "from"]))]
pub(super) struct PlanArgs {
    /// A release of the profile
    #[arg(long, value_name = "NAME")]
    pub release: Option<String>,
    /// What another plan was made for: its bumps, scope and limits, each unless it is given here. A release given here takes the
    /// place of all its bumps
    #[arg(long, value_name = "PLAN.json")]
    pub from: Option<PathBuf>,
    /// One component to a version, or to an image; may be given again. Beside --release it overrides the release's image
    #[arg(long, value_name = "COMPONENT=VERSION")]
    pub bump: Vec<String>,
    /// Only these nodes, for instance rack0-cs1,rack3-ss[1-4]
    #[arg(long, value_name = "SELECT")]
    pub nodes: Option<String>,
    /// Only workers of these racks
    #[arg(long, value_name = "SELECT")]
    pub racks: Option<String>,
    /// Only workers with one of these roles
    #[arg(long, value_name = "SELECT")]
    pub role: Option<String>,
    /// Only workers with this label; may be given again, and then all of them count
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<Label>,
    #[command(flatten)]
    pub leave_out: LeaveOut,
    /// Move these workers before all others
    #[arg(long, value_name = "SELECT")]
    pub first: Option<String>,
    /// Move these workers after all others
    #[arg(long, value_name = "SELECT")]
    pub last: Option<String>,
    /// Nodes in the canary wave; the other workers follow rack by rack [default: the profile's]
    #[arg(long, value_name = "N", conflicts_with = "waves")]
    pub canary: Option<usize>,
    /// Waves that grow, for instance 1,1/rack,5%,25%,100% or 1,5,20,100 [default: the profile's]
    #[arg(long, value_name = "SIZES")]
    pub waves: Option<Ramp>,
    /// How long everything is watched after each wave, for instance 90s or 5m [default: the profile's]
    #[arg(long, value_name = "TIME")]
    pub soak: Option<jiff::SignedDuration>,
    /// Grace periods of pods that are waited for at most, to prove that a new kubelet restarted none [default: the profile's]
    #[arg(long, value_name = "TIME")]
    pub proof_limit: Option<jiff::SignedDuration>,
    /// Swaps in flight at once [default: the profile's]
    #[arg(long, value_name = "N")]
    pub max_parallel: Option<usize>,
    /// Nodes of a rack that may be away at once [default: the profile's]
    #[arg(long, value_name = "N")]
    pub max_unavailable: Option<usize>,
    /// Let the plan mend this finding by the change of arguments that it offers; `all` takes every offer
    #[arg(long, value_name = "FINDING", value_delimiter = ',')]
    pub accept: Vec<String>,
    /// Take this error as it is, where that is possible: it becomes a warning
    #[arg(long, value_name = "FINDING", value_delimiter = ',')]
    pub acknowledge: Vec<String>,
    /// Show what the same change would cost by other means: draining node by node, or a new cluster
    #[arg(long)]
    pub compare: bool,
    /// With --compare: how fast local data could be copied, in all, for instance 10Gbit or 800Mbit
    #[arg(long, value_name = "RATE", requires = "compare", default_value_t)]
    pub bandwidth: Bandwidth,
    /// Write the plan here, for `sonoba apply`
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
}

/// Who is left out by decision.
#[derive(Debug, Default, Args)]
pub(super) struct LeaveOut {
    /// Leave these nodes out, for instance rack0-cs1,rack3-ss[1-4]; the plan lists them
    #[arg(long, value_name = "SELECT")]
    pub exclude: Option<String>,
    /// Leave out every node that is down or has an unfinished swap; the plan lists them
    #[arg(long)]
    pub exclude_unreachable: bool,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// What `sonoba plan -o` wrote
    #[arg(value_name = "PLAN.json")]
    pub plan: PathBuf,
    /// Do not ask; warnings count as acknowledged
    #[arg(long)]
    pub yes: bool,
    /// Start the run and leave it to its engine
    #[arg(long)]
    pub detach: bool,
    /// Print the run's events, one JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    pub run: RunArg,
    /// Only these nodes, for instance rack0-cs1,rack3-ss[1-4]; of a run that has not ended: those that are in flight or failed
    #[arg(long, value_name = "SELECT")]
    pub nodes: Option<String>,
    #[command(flatten)]
    pub leave_out: LeaveOut,
    /// Only write the plan here, for `sonoba apply`
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["yes", "detach"])]
    pub output: Option<PathBuf>,
    /// Take this error as it is, where that is possible: it becomes a warning
    #[arg(long, value_name = "FINDING", value_delimiter = ',')]
    pub acknowledge: Vec<String>,
    /// Do not ask; warnings count as acknowledged
    #[arg(long)]
    pub yes: bool,
    /// Start the run and leave it to its engine
    #[arg(long)]
    pub detach: bool,
    /// Print the run's events, one JSON object a line; with --output the plan
    #[arg(long)]
    pub json: bool,
}

/// A command about one run.
#[derive(Debug, Args)]
pub(super) struct RunArg {
    /// The run: its id, its folder, or `latest`; a command that acts wants it named where several runs have not ended
    #[arg(default_value = "latest", value_name = "RUN")]
    pub run: String,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// A recording's file, or a run: its id, its folder, or `latest`
    #[arg(default_value = "latest", value_name = "FILE|RUN")]
    pub run: String,
    /// How many times faster than it happened, from 0.25 to 200
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub speed: f64,
    /// Where to begin: 12m30s after the beginning, -1m before the end, or at a moment
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub at: Option<At>,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The run: its id, its folder, `latest`, or for --cast a recording's file
    #[arg(default_value = "latest", value_name = "RUN")]
    pub run: String,
    #[command(flatten)]
    pub what: ExportWhat,
    /// With --cast: how many times faster than it happened
    #[arg(long, value_name = "X", default_value_t = 10.0)]
    pub speed: f64,
    /// With --cast: columns of the screen
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u16).range(80..=400))]
    pub columns: u16,
    /// With --cast: rows of the screen
    #[arg(long, value_name = "N", default_value_t = 36, value_parser = clap::value_parser!(u16).range(24..=100))]
    pub rows: u16,
}

/// As what.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct ExportWhat {
    /// The plan and the journal, for `sonoba replay`
    #[arg(long, value_name = "FILE.sonoba")]
    pub recording: Option<PathBuf>,
    /// The screens, for asciinema's player
    #[arg(long, value_name = "FILE.cast")]
    pub cast: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    #[command(flatten)]
    pub run: RunArg,
    /// Only these nodes, for instance rack0-cs1,rack3-ss[1-4] [default: all that failed or rolled back]
    #[arg(long, value_name = "SELECT")]
    pub nodes: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct SkipArgs {
    #[command(flatten)]
    pub run: RunArg,
    /// These nodes, for instance rack0-cs1,rack3-ss[1-4]
    #[arg(long, value_name = "SELECT")]
    pub nodes: String,
    /// Why; kept in the journal and shown in the report
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

#[derive(Debug, Args)]
pub(super) struct OverrideArgs {
    #[command(flatten)]
    pub run: RunArg,
    /// The gate, by the name that the run shows while it waits for it
    #[arg(long, value_name = "NAME")]
    pub gate: String,
    /// Why; kept in the journal and shown in the report
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    pub run: RunArg,
    /// Another form than the short one for people
    #[arg(long)]
    pub format: Option<Format>,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Markdown, for a ticket
    Md,
    /// JSON, for a script
    Json,
}

#[derive(Debug, Args)]
pub(super) struct EngineArgs {
    /// The run's folder
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Whoever started it holds its standard input, and gives the run up by letting go of it before it began
    #[arg(long)]
    pub leashed: bool,
}

/// What is simulated. What is left out is as the scenario says.
#[derive(Debug, Clone, Args)]
pub(super) struct SimArgs {
    /// Workers
    #[arg(long, value_name = "N")]
    pub nodes: Option<usize>,
    /// Racks
    #[arg(long, value_name = "N")]
    pub racks: Option<usize>,
    /// Masters
    #[arg(long, value_name = "N")]
    pub masters: Option<usize>,
    /// A named scenario, or a scenario's file
    #[arg(long, value_name = "NAME|FILE", default_value = "calm")]
    pub scenario: String,
    /// The same seed gives the same cluster and the same faults
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// How much faster than the wall clock the simulated one runs
    #[arg(long, value_name = "X")]
    pub speed: Option<f64>,
}

#[derive(Debug, Args)]
pub(super) struct SimServeArgs {
    #[command(flatten)]
    pub sim: SimArgs,
    /// Where the simulated cluster's profile is written
    #[arg(long, value_name = "FILE")]
    pub profile_out: PathBuf,
    /// End when standard input closes: whoever holds the other end may die without a word
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_words_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_plan_needs_something_to_plan() {
        assert!(Cli::try_parse_from(["sonoba", "plan"]).is_err());
        assert!(Cli::try_parse_from(["sonoba", "plan", "--release", "1.36.2", "--profile", "p"]).is_ok());
        assert!(Cli::try_parse_from(["sonoba", "--profile", "p", "plan", "--bump", "kubelet=1.36.2.1"]).is_ok());
        assert!(Cli::try_parse_from(["sonoba", "plan", "--from", "plan.json", "--canary", "5"]).is_ok());
        assert!(Cli::try_parse_from(["sonoba", "--profile", "p", "--cluster", "c", "runs"]).is_err());
    }
}
