use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use rr_patch::cli::Cli;
use rr_patch::error::{Error, exit, render};
use rr_patch::ui::report::{Format, Report};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let result = cli.run().and_then(|report| {
        report.print(cli.format, &mut io::stdout())?;
        Ok(report.exit)
    });
    match result {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            if cli.format == Format::Json {
                let _ = Report::of_error(&error).print(Format::Json, &mut io::stdout());
            }
            // With nobody left to read it there is nothing more to do than to say so by the code.
            let _ = io::stderr().write_all(render(&error).as_bytes());
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
        let _ = Report::of_error(&Error::usage(message).into()).print(Format::Json, &mut io::stdout());
    }
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
