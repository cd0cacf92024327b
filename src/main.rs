use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use rr_patch::cli::Cli;
use rr_patch::error::{Error, exit, render};
use rr_patch::ui::document::{Failure, Format, Ui};
use rr_patch::ui::manners::{colours_on_stderr, columns_of_stderr, common, paint};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    match cli.run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if cli.format.format() == Format::Json {
                let _ = Ui { format: Format::Json }.print(&Failure::of(&error));
            }
            // With nobody left to read it there is nothing more to do than to say so by the code.
            let shown = paint(&render(&error), columns_of_stderr(), colours_on_stderr(), common);
            let _ = io::stderr().write_all(shown.as_bytes());
            ExitCode::from(exit(&error) as u8)
        }
    }
}

/// What clap has to say: help and the version, or what is wrong with the command line.
fn not_understood(error: &clap::Error) -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let json = words.iter().any(|word| word == "--format=json")
        || words.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json");
    if error.use_stderr() && json {
        let said = error.to_string();
        let message = said.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let _ = Ui { format: Format::Json }.print(&Failure::of(&Error::usage(message).into()));
    }
    // What a command line that is not understood says of colours counts all the same.
    let plain = words.iter().any(|word| word == "--color=never")
        || words.windows(2).any(|pair| pair[0] == "--color" && pair[1] == "never");
    let _ = match (plain, error.use_stderr()) {
        (false, _) => error.print(),
        (true, true) => write!(io::stderr(), "{}", error.render()),
        (true, false) => write!(io::stdout(), "{}", error.render()),
    };
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
