//! The command line, and the one match on it.

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::commands::{
    apply::Apply, build::Build, chaos::ChaosCommand, check::Check, ci::Ci, ci::Step, completions::Completions,
    demo::Demo, diff::Diff, doctor::Doctor, explain::Explain, hunt::Hunt, inspect::Inspect, man::Man, record::Record,
    replay::Replay, revert::Revert, rules::RulesCommand, say, schema::PrintSchema, status::Status, traces::Traces,
};
use crate::error::{Error, Exit};
use crate::sys::process::watch_starts;
use crate::ui::document::{Format, Ui};
use crate::ui::manners::{Colour, Verbosity, settle};

/// Patch an OpenShift installer so that its Cluster API controllers run under `rr record`.
#[derive(Parser, Debug)]
#[command(version = env!("RR_PATCH_VERSION"), max_term_width = 100, after_help = after_help())]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// How to print the result
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, help_heading = OUTPUT)]
    pub format: Output,

    /// Use colours: on a terminal, always, or never
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Colour::Auto, help_heading = OUTPUT)]
    pub color: Colour,

    /// Say only results, questions, warnings and errors
    #[arg(long, short, global = true, conflicts_with = "verbose", help_heading = OUTPUT)]
    pub quiet: bool,

    /// Name each program that is started; `build`: show all that it prints
    #[arg(long, short, global = true, help_heading = OUTPUT)]
    pub verbose: bool,
}

/// The heading of what every command takes.
const OUTPUT: &str = "Output";

/// How to print a result: what every command knows, and what `ci matrix` alone does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// One JSON document
    Json,
    /// `ci matrix`: annotations and outputs of a workflow
    #[value(hide = true)]
    Github,
}

impl Output {
    pub fn format(self) -> Format {
        if self == Self::Json { Format::Json } else { Format::Text }
    }
}

const EXAMPLES: &str = "\
Examples:
  rr-patch doctor                               # can this machine record and replay?
  rr-patch apply ~/src/installer
  rr-patch build ~/src/installer --platform aws
  rr-patch record ~/src/installer -- create cluster --dir cluster
  rr-patch explain aws                          # why it ended as it did
  rr-patch revert ~/src/installer";

/// The variables that are read, and what each says. `tests/house.rs` keeps the list complete.
pub const ENVIRONMENT: [(&str, &str); 20] = [
    ("RR_PATCH_RECORD", "the recorder's command line; `off`; or `if-possible [COMMAND...]`"),
    ("_RR_TRACE_DIR", "where traces lie; else rr in XDG_DATA_HOME or ~/.local/share"),
    ("DELVE_RR_REPLAY_FLAGS", "what Delve hands to `rr replay`, like -W"),
    ("NO_COLOR", "no colours, whatever its value"),
    ("CLICOLOR_FORCE", "colours in files and pipes too, unless it is 0; CLICOLOR=0: none"),
    ("TERM", "`dumb`: no colours"),
    ("PAGER", "what shows a long log; else less, with the options in LESS or else FRX"),
    ("LESS", "see PAGER"),
    ("PATH", "where programs are looked up; folders that are not absolute are left out"),
    ("HOME", "where the folders of traces, caches and Go are looked for"),
    ("XDG_DATA_HOME", "see _RR_TRACE_DIR"),
    ("XDG_CACHE_HOME", "where Go is looked for that scripts/setup installed"),
    ("GIT_CEILING_DIRECTORIES", "folders above which no checkout is looked for"),
    ("RR_PATCH_REMOTE", "`ci`: where the installer's branches are"),
    ("RR_PATCH_REFS", "`ci`: globs of references, parted by commas"),
    ("RR_PATCH_PLATFORMS", "`ci`: platforms, parted by commas"),
    ("RR_PATCH_ROW", "`ci build`: the row to build"),
    ("GITHUB_OUTPUT", "`ci matrix --format github`: where outputs go"),
    ("GITHUB_STEP_SUMMARY", "the same: where the summary goes"),
    ("RUNNING_UNDER_RR", "set by rr: nothing can be recorded inside of it"),
];

/// What stands below the help of the whole tool.
fn after_help() -> String {
    let width = ENVIRONMENT.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: Vec<_> = ENVIRONMENT.iter().map(|(name, says)| format!("  {name:width$}  {says}")).collect();
    format!("{EXAMPLES}\n\nEnvironment:\n{}\n\n{EXIT_CODES}", lines.join("\n"))
}

const EXIT_CODES: &str = "Exit codes: 0 done, or nothing to do; 1 could not; 2 usage; 3 refused, nothing was written;
4 ran, and found something that is not in order; 130 ended by Ctrl-C or SIGTERM, after what was
begun was closed or taken back.";

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make the changes that start controllers under rr and let it finish its traces
    Apply(Apply),
    /// Take the changes back, byte for byte
    Revert(Revert),
    /// Build a debuggable installer with the checkout's hack/build.sh
    Build(Build),
    /// Say whether an installer records, from what it was built, and if Delve can debug it
    Inspect(Inspect),
    /// Print what apply would do, or has done, as a patch
    Diff(Diff),
    /// Say which revisions of a repository can be patched, without checking any out
    Check(Check),
    /// Build recording installers of many branches on a CI engine
    Ci(Ci),
    /// Let Go's own scheduler shuffle what a program does
    Chaos(ChaosCommand),
    /// Say which changes are in place, where, and what was edited since
    Status(Status),
    /// Write the rules out as files to edit, or try a folder of them on its snippets
    Rules(RulesCommand),
    /// List, show, remove, pack and unpack what rr has recorded
    Traces(Traces),
    /// Say whether this machine can record and replay, and what to type where it cannot
    Doctor(Doctor),
    /// Run a patched installer, and stay until the traces of its controllers are closed
    Record(Record),
    /// Open a trace in Delve, and lead an editor there
    Replay(Replay),
    /// Say why a recorded program ended as it did, and which lines of its code are to blame
    Explain(Explain),
    /// Record a program again and again until it fails, and keep the runs that did
    Hunt(Hunt),
    /// Show the whole way on a small installer in a temporary folder
    Demo(Demo),
    /// Print the completions of a shell
    Completions(Completions),
    /// Print a manual page, or write all of them into a folder
    Man(Man),
    /// Print the JSON Schema of a document that `--format json` gives
    Schema(PrintSchema),
}

impl Cli {
    /// Runs the command, prints its result, and gives the exit code.
    pub fn run(&self) -> Result<u8> {
        let verbosity = match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        };
        settle(self.color, verbosity);
        if self.verbose {
            watch_starts(|command| say(&format!("+ {command}")));
        }
        match &self.command {
            Command::Record(record) if record.program => record.run_program(self.format.format()),
            _ => Ok(self.show()? as u8),
        }
    }

    fn show(&self) -> Result<Exit> {
        let for_github = self.format == Output::Github;
        if for_github && !matches!(&self.command, Command::Ci(Ci { command: Step::Matrix(_) })) {
            let error = Error::usage("`--format github` is for `rr-patch ci matrix`");
            return Err(error.hint("`--format json` gives every result as a document").into());
        }
        let format = self.format.format();
        let ui = Ui { format };
        match &self.command {
            Command::Apply(apply) => ui.show(&apply.run()?),
            Command::Revert(revert) => ui.show(&revert.run()?),
            Command::Build(build) => ui.show(&build.run(format)?),
            Command::Inspect(inspect) => ui.show(&inspect.run()?),
            Command::Diff(diff) => ui.show(&diff.run()?),
            Command::Check(check) => ui.show(&check.run()?),
            Command::Ci(ci) => match &ci.command {
                Step::Matrix(matrix) => ui.show(&matrix.run(for_github)?),
                Step::Build(build) => ui.show(&build.run()?),
                Step::Github(github) => ui.show(&github.run()?),
                Step::Gitlab(gitlab) => ui.show(&gitlab.run()?),
                Step::Tekton(tekton) => ui.show(&tekton.run()?),
                Step::Prow(prow) => ui.show(&prow.run()?),
            },
            Command::Chaos(chaos) => chaos.run(ui),
            Command::Status(status) => ui.show(&status.run()?),
            Command::Rules(rules) => rules.run(ui),
            Command::Traces(traces) => traces.run(ui),
            Command::Doctor(doctor) => ui.show(&doctor.run()?),
            Command::Record(record) => ui.show(&record.run(format)?),
            Command::Replay(replay) => replay.run(ui),
            Command::Explain(explain) => ui.show(&explain.run()?),
            Command::Hunt(hunt) => ui.show(&hunt.run()?),
            Command::Demo(demo) => ui.show(&demo.run(format)?),
            Command::Completions(completions) => ui.show(&completions.run(&mut Self::command())),
            Command::Man(man) => ui.show(&man.run(Self::command())?),
            Command::Schema(schema) => ui.show(&schema.run()?),
        }
    }
}
