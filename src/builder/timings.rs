//! One page that shows where a build's time went: the phases on a time axis, processors and memory
//! below them on the same axis, and the packages that took longest. Nothing in it is loaded from
//! anywhere, so that it can be mailed and kept.

#![expect(clippy::cast_precision_loss, reason = "a drawing has a few hundred points across")]

use std::fmt::Write as _;
use std::time::Duration;

use super::phases::Phase;
use super::sample::{Load, PERIOD, Work};
use crate::patch::go::holds;
use crate::words::{bytes, html, seconds};

/// What the page shows.
#[derive(Debug)]
pub struct Page<'a> {
    /// The installer that was built.
    pub title: String,
    /// What was built how, as pairs of a name and a value.
    pub about: Vec<(&'static str, String)>,
    pub total: Duration,
    pub processors: usize,
    pub phases: &'a [Phase],
    pub loads: &'a [Load],
    pub slowest: Vec<&'a Work>,
    /// How many pieces of work were seen in all.
    pub works: usize,
}

/// The drawing's measures.
const WIDTH: f64 = 1000.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 80.0;
const ROW: f64 = 26.0;
const CHART: f64 = 110.0;
/// Between one drawing and the next, with room for a heading.
const GAP: f64 = 44.0;

/// More points than the drawing has columns only make it heavy.
const POINTS: usize = 400;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --page: #ffffff; --panel: #f6f8fa;
  --a: #2f6feb; --b: #8250df; --c: #1a7f5a; --d: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --page: #0d1117; --panel: #151b23;
  --a: #4c8dff; --b: #ab7df8; --c: #3fb984; --d: #d29922; } }
body { margin: 2rem auto; padding: 0 1.5rem; max-width: 1060px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin: 2.2rem 0 .6rem; }
p { color: var(--soft); margin: .3rem 0 1rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: .8rem; margin: 1.2rem 0; }
dl div { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .8rem; }
dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; font-size: 1rem; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .soft { fill: var(--soft); } svg .grid { stroke: var(--line); stroke-width: 1; }
svg .head { font-weight: 600; font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: .85rem; border-bottom: 1px solid var(--line); }
th, td { padding: .3rem .6rem .3rem 0; vertical-align: top; } td { border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; white-space: nowrap; } td.w { overflow-wrap: anywhere; } td.s { white-space: nowrap; }
td.bar { width: 22%; } td.bar i { display: block; height: .7rem; margin-top: .4rem; border-radius: 3px; background: var(--a); }
";

impl Page<'_> {
    /// Whether a file is such a page.
    pub fn is_one(bytes: &[u8]) -> bool {
        let head = &bytes[..bytes.len().min(400)];
        bytes.starts_with(b"<!doctype html>") && holds(head, b"<title>Build of ")
    }

    /// The page as HTML.
    pub fn html(&self) -> String {
        let mut page = String::new();
        let title = html(&self.title);
        let _ = write!(
            page,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>Build of {title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <h1>{title}</h1>\n<p>built in {}</p>\n<dl>\n",
            seconds(self.total)
        );
        for (name, value) in &self.about {
            let _ = writeln!(page, "<div><dt>{name}</dt><dd>{}</dd></div>", html(value));
        }
        page.push_str("</dl>\n");
        page.push_str(&self.drawing());
        page.push_str(&self.phase_table());
        page.push_str(&self.package_table());
        page.push_str("</body>\n</html>\n");
        page
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (at / self.total.as_secs_f64().max(0.001)).clamp(0.0, 1.0)
    }

    /// Phases, processors and memory under one another on one time axis.
    fn drawing(&self) -> String {
        let rows = ROW * self.phases.len() as f64;
        let tops = [GAP, 2.0 * GAP + rows, 3.0 * GAP + rows + CHART];
        let bottom = tops[2] + CHART;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"phases, processors and memory over time\">\n",
            bottom + 28.0
        );
        for at in ticks(self.total.as_secs_f64()) {
            let x = self.x(at);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>\
                 <text class=\"soft\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                tops[0] - 6.0,
                bottom + 18.0,
                clock(at)
            );
        }
        let _ = writeln!(svg, "<text class=\"head\" x=\"0\" y=\"{:.1}\">Phases</text>", tops[0] - 16.0);
        for (number, phase) in self.phases.iter().enumerate() {
            svg.push_str(&self.bar(phase, tops[0] + ROW * number as f64));
        }
        let processors = self.processors as f64;
        let cpu: Vec<(f64, f64)> = self.loads.iter().map(|load| (load.at, load.cpu)).collect();
        let cpu: Vec<(f64, f64)> = averages(&cpu).into_iter().map(|(at, used)| (at, used.min(processors))).collect();
        let memory: Vec<(f64, f64)> = self.loads.iter().map(|load| (load.at, load.memory as f64)).collect();
        let memory = peaks(&memory);
        svg.push_str(
            &self.chart("Processors in use", &cpu, processors, tops[1], "--c", &|value| format!("{value:.1}")),
        );
        let most = memory.iter().map(|(_, value)| *value).fold(1.0, f64::max);
        svg.push_str(&self.chart("Memory", &memory, most, tops[2], "--d", &size));
        svg.push_str("</svg>\n");
        svg
    }

    fn bar(&self, phase: &Phase, top: f64) -> String {
        let (from, to) = (self.x(phase.began), self.x(phase.began + phase.seconds));
        let width = (to - from).max(2.0);
        let took = seconds(Duration::from_secs_f64(phase.seconds));
        let name = html(&phase.name);
        let middle = top + ROW * 0.62;
        let colour = match phase.name.as_str() {
            "installer" => "--b",
            "envtest" | "zip" | "generate" => "--d",
            _ => "--a",
        };
        format!(
            "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"3\" fill=\"var({colour})\">\
             <title>{name}: {took}, from {}</title></rect>\
             <text class=\"soft\" x=\"{:.1}\" y=\"{middle:.1}\">{took}</text>\n",
            LEFT - 10.0,
            top + 4.0,
            ROW - 8.0,
            clock(phase.began),
            from + width + 6.0,
        )
    }

    /// A filled line.
    fn chart(
        &self,
        name: &str,
        values: &[(f64, f64)],
        limit: f64,
        top: f64,
        colour: &str,
        show: &dyn Fn(f64) -> String,
    ) -> String {
        let most = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let limit = limit.max(most).max(f64::MIN_POSITIVE);
        let bottom = top + CHART;
        let y = |value: f64| bottom - CHART * (value / limit);
        let mut line = format!("M{:.1} {bottom:.1}", self.x(0.0));
        let mut last = 0.0;
        for &(at, value) in values {
            let _ = write!(line, "L{:.1} {:.1}", self.x(at), y(value));
            last = at;
        }
        let _ = write!(line, "L{:.1} {bottom:.1}Z", self.x(last));
        format!(
            "<text class=\"head\" x=\"0\" y=\"{:.1}\">{name}</text>\
             <text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text class=\"soft\" x=\"{:.1}\" y=\"{bottom:.1}\" text-anchor=\"end\">0</text>\
             <line class=\"grid\" x1=\"{LEFT:.1}\" y1=\"{top:.1}\" x2=\"{right:.1}\" y2=\"{top:.1}\"/>\
             <line class=\"grid\" x1=\"{LEFT:.1}\" y1=\"{bottom:.1}\" x2=\"{right:.1}\" y2=\"{bottom:.1}\"/>\
             <path d=\"{line}\" fill=\"var({colour})\" fill-opacity=\".35\" stroke=\"var({colour})\" stroke-width=\"1.5\">\
             <title>{name}: at most {}</title></path>\n",
            top - 16.0,
            LEFT - 10.0,
            top + 4.0,
            show(limit),
            LEFT - 10.0,
            show(most),
            right = WIDTH - RIGHT,
        )
    }

    fn phase_table(&self) -> String {
        let mut table = String::from(
            "<h2>Phases</h2>\n<table>\n<tr><th>phase</th><th class=\"n\">began</th><th class=\"n\">took</th><th></th></tr>\n",
        );
        let longest = self.phases.iter().map(|phase| phase.seconds).fold(f64::MIN_POSITIVE, f64::max);
        for phase in self.phases {
            let _ = writeln!(
                table,
                "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"bar\"><i style=\"width:{:.1}%\"></i></td></tr>",
                html(&phase.name),
                clock(phase.began),
                seconds(Duration::from_secs_f64(phase.seconds)),
                100.0 * phase.seconds / longest
            );
        }
        table.push_str("</table>\n");
        table
    }

    fn package_table(&self) -> String {
        let mut table = String::from("<h2>Slowest packages</h2>\n");
        let _ = writeln!(
            table,
            "<p>Measured by looking at the processes of Go's tools every {} ms: what took less than that may be missing, \
             and times are as exact as that. {} pieces of work were seen; what came from Go's cache is none.</p>",
            PERIOD.as_millis(),
            self.works
        );
        if self.slowest.is_empty() {
            return table;
        }
        table.push_str(
            "<table>\n<tr><th>package</th><th>tool</th><th>for</th><th class=\"n\">took</th><th class=\"n\">processor</th>\
             <th class=\"n\">memory</th><th></th></tr>\n",
        );
        let longest = self.slowest.iter().map(|work| work.took()).fold(f64::MIN_POSITIVE, f64::max);
        for work in &self.slowest {
            let _ = writeln!(
                table,
                "<tr><td class=\"w\">{}</td><td>{}</td><td class=\"s\">{}</td><td class=\"n\">{:.1} s</td><td class=\"n\">{:.1} s</td>\
                 <td class=\"n\">{}</td><td class=\"bar\"><i style=\"width:{:.1}%\"></i></td></tr>",
                html(&work.package),
                html(&work.tool),
                html(&super::phases::short(&work.of)),
                work.took(),
                work.cpu,
                bytes(work.memory),
                100.0 * work.took() / longest
            );
        }
        table.push_str("</table>\n");
        table
    }
}

/// The moments to mark: five to ten, at whole steps.
fn ticks(total: f64) -> Vec<f64> {
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0];
    let step = steps.into_iter().find(|step| total / step <= 9.0).unwrap_or(7200.0);
    (0..20).map(|number| f64::from(number) * step).take_while(|at| *at <= total).collect()
}

/// `0:07`, `12:30`, `1:02:30`; below ten seconds with a tenth.
fn clock(at: f64) -> String {
    if at < 10.0 {
        return if at == 0.0 { "0".into() } else { format!("{at:.1} s") };
    }
    let whole = Duration::from_secs_f64(at + 0.5).as_secs();
    match whole / 3600 {
        0 => format!("{}:{:02}", whole / 60, whole % 60),
        hours => format!("{hours}:{:02}:{:02}", whole / 60 % 60, whole % 60),
    }
}

/// At most [`POINTS`] points: the highest of each run of neighbours, so that no peak is lost.
fn peaks(values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let highest = |run: &[(f64, f64)]| run.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    values.chunks(run(values)).filter_map(highest).collect()
}

/// The same number of points: what each run of neighbours comes to. A child's processor time is counted
/// when its parent has waited for it, which a single moment shows as more than there is.
fn averages(values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let average = |run: &[(f64, f64)]| {
        let sum: f64 = run.iter().map(|(_, value)| value).sum();
        Some((run.last()?.0, sum / run.len() as f64))
    };
    values.chunks(run(values)).filter_map(average).collect()
}

fn run(values: &[(f64, f64)]) -> usize {
    values.len().div_ceil(POINTS).max(1)
}

/// A place on the axis of memory.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between two numbers of bytes")]
fn size(bytes_there: f64) -> String {
    bytes(bytes_there as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_whole_steps_whatever_the_length() {
        for total in [0.4, 3.0, 47.0, 600.0, 5.0 * 3600.0] {
            let ticks = ticks(total);
            assert!((4..=10).contains(&ticks.len()), "{total}: {ticks:?}");
            assert!(ticks.iter().all(|at| *at <= total));
        }
    }

    #[test]
    fn clock_grows_from_tenths_to_hours() {
        assert_eq!([0.0, 1.5, 75.0, 3750.0].map(clock), ["0", "1.5 s", "1:15", "1:02:30"]);
    }

    #[test]
    fn points_are_few_and_keep_the_peak_or_the_sum() {
        let values: Vec<(f64, f64)> = (0..10_000).map(|n| (f64::from(n), if n == 5001 { 26.0 } else { 1.0 })).collect();
        let peaks = peaks(&values);
        assert!(peaks.len() <= POINTS && peaks.contains(&(5001.0, 26.0)));
        let averages = averages(&values);
        assert!(
            averages.len() <= POINTS && averages.iter().filter(|(_, value)| (*value - 2.0).abs() < 1e-9).count() == 1
        );
    }
}
