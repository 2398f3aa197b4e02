//! `codeagent-runner`: the program in the Pod of a job agent. It clones the repository, runs a command-line agent, pushes what that
//! left, opens the pull request and reports; `docs/in-cluster.md` tells it to users.

mod adapters;
mod address;
mod agent;
mod credential;
mod failure;
mod git;
mod home;
mod hosts;
mod install;
mod lines;
mod log;
mod processes;
mod redact;
mod run;
mod stop;
mod workspace;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "codeagent-runner", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Copy this program to DIR/codeagent-runner.
    Install { dir: PathBuf },
    /// Do the task, then write the report; the exit code tells the reason.
    Run(run::Options),
    /// Answer git's question for a credential.
    Credential {
        /// The only host that the token is for, with its port if that is not the usual one.
        #[arg(long)]
        host: String,
        #[arg(long)]
        user: String,
        /// The file of the token.
        #[arg(long)]
        token: PathBuf,
        /// get, store or erase; git adds it.
        action: String,
    },
    /// Print the version.
    Version,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Action::Install { dir } => install::install(&dir).map(|to| println!("{}", to.display())),
        Action::Run(options) => return run::main(&options),
        Action::Credential {
            host,
            user,
            token,
            action,
        } => credential::answer(&action, &host, &user, &token, io::stdin(), io::stdout()),
        Action::Version => {
            println!("{}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("codeagent-runner: {error}");
            ExitCode::FAILURE
        }
    }
}
