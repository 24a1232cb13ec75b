//! The command line: the only room that knows all the others. One file a subcommand; [`run`] is all of it.

mod apply;
mod args;
mod backend;
mod cockpit;
mod command;
mod demo;
mod doctor;
mod engine;
mod failure;
mod follow;
mod gone;
#[cfg(test)]
mod hostile_tests;
mod logging;
mod output;
mod places;
mod plan;
mod plan_file;
mod progress;
mod replay;
mod report;
mod rollback;
mod runs;
#[cfg(test)]
mod samples;
mod say;
mod settings;
mod setup;
mod sim;
mod stage;
mod watching;

pub(crate) use plan_file::parse as parse_plan;
pub(crate) use settings::check as check_settings;

use crate::fleet::clean;
use crate::journal::Verb;
use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use failure::Failure;
use std::process::ExitCode;
use std::time::Duration;

/// Carries out this process's command line and returns its exit code: 0 done; 1 failed; 2 wrong usage; 3 plan refused;
/// 4 the run ended paused or aborted.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // It quotes what was given, and a file's name may come from anybody.
            let text = error.to_string();
            if text.lines().all(|line| clean(line) == line) {
                // Nobody listens when even this cannot be printed.
                let _ = error.print();
            } else {
                text.lines().for_each(say::err);
            }
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Failure::failed(format!("no threads to run on: {error}")).print();
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(dispatch(cli));
    // A read of standard input may never return; nothing worth waiting for is left.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.exit.into()
        }
    }
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    let Some(command) = command else {
        return cockpit::open(&global, false, &mut Vec::new()).await;
    };
    // These draw, or are heard, elsewhere.
    if !matches!(command, Command::Watch(_) | Command::Replay(_) | Command::Demo(_) | Command::Engine(_)) {
        logging::to_stderr();
    }
    match command {
        Command::Plan(args) => plan::run(&global, &args).await,
        Command::Apply(args) => apply::run(&global, &args).await,
        Command::Pause(run) => command::run(&global, &run, Verb::Pause).await,
        Command::Resume(run) => command::run(&global, &run, Verb::Resume).await,
        Command::Abort(run) => command::run(&global, &run, Verb::Abort).await,
        Command::Rollback(args) => rollback::run(&global, &args).await,
        Command::Retry(args) => command::retry(&global, &args).await,
        Command::Skip(args) => command::skip(&global, &args).await,
        Command::Override(args) => command::pass_over(&global, &args).await,
        Command::Watch(run) => cockpit::watch(&global, &run).await,
        Command::Replay(args) => replay::run(&global, &args).await,
        Command::Export(args) => replay::export(&global, &args).await,
        Command::Runs(args) => runs::list(&global, &args).await,
        Command::Report(args) => report::run(&global, &args).await,
        Command::Engine(args) => engine::run(&args).await,
        Command::Demo(args) => demo::run(&global, &args).await,
        Command::Sim(args) => sim::run(&args).await,
        Command::Doctor => doctor::run(&global).await,
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "sonoba", &mut text);
            std::io::Write::write_all(&mut std::io::stdout(), &text)?;
            Ok(())
        }
    }
}
