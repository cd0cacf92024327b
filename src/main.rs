use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use rr_patch::cli::Cli;
use rr_patch::error::{exit, render};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = cli.run().and_then(|report| {
        report.print(cli.format, &mut io::stdout())?;
        Ok(report.exit)
    });
    match result {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            // With nobody left to read it there is nothing more to do than to say so by the code.
            let _ = io::stderr().write_all(render(&error).as_bytes());
            ExitCode::from(exit(&error) as u8)
        }
    }
}
