//! "Are you sure?", before what cannot be undone.

use std::io::{self, BufRead, IsTerminal};

use crate::failure::Failure;
use crate::output;

/// Asks on the terminal; an error unless the answer is yes. A script must say --yes.
pub(crate) fn ask(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("this asks before it changes anything, and stdin is no terminal").next("add --yes"));
    }
    output::talk(&format!("{question} Type yes:"));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::new(format!("cannot read stdin: {error}")))?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(Failure::new("nothing was changed").next("answer `yes`, or add --yes"))
}
