//! Any program: the prompt on its standard input, its lines are output, exit code 0 is success.

use codeagent_runner_protocol::Reason;

use super::{Exit, Invocation, Wish, assemble, ended, failure};

pub fn invocation(wish: Wish<'_>) -> Invocation {
    assemble(wish, "", Vec::new(), &[])
}

pub fn conclude(exit: Exit, stderr: &str) -> Result<(), (Reason, String)> {
    match exit {
        Exit::Code(0) => Ok(()),
        _ => Err(failure(
            Reason::AgentFailed,
            &ended("The program", exit, stderr),
        )),
    }
}
