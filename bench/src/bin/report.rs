// SPDX-License-Identifier: GPL-2.0-only

//! Combines the figures of one run: tables on stdout, one CSV file, a picture, and the changes
//! since the saved run.

use anyhow::{Context, Result};
use bench::Figure;
use clap::Parser;
use plotters::prelude::*;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A state of the symbol, a kernel without the series, the same with it, and the most bytes by which its text may grow.
const GROWTHS: [(&str, &str, &str, i64); 3] = [
    ("off, RUST=n", "unpatched-no-rust", "no-rust", 256),
    ("off, RUST=y", "unpatched-off", "off", 512),
    ("on", "unpatched-off", "on", 3584),
];

/// A figure that differs by more than this, in percent, is printed as moved.
const MOVED: f64 = 3.0;

#[derive(Parser)]
struct Args {
    /// The files that measure wrote
    #[arg(required = true)]
    figures: Vec<PathBuf>,
    /// The figures to compare with, if there are any
    #[arg(long)]
    saved: PathBuf,
    /// The file to write all figures to
    #[arg(long)]
    csv: PathBuf,
    /// The file to write the picture to
    #[arg(long)]
    svg: PathBuf,
}

fn read(path: &Path) -> Result<Vec<Figure>> {
    let reader = csv::Reader::from_path(path);
    let figures = reader.and_then(|reader| reader.into_deserialize().collect());
    figures.with_context(|| path.display().to_string())
}

/// The figures of one run.
struct Run(Vec<Figure>);

impl Run {
    fn find(&self, unit: &str, group: &str, what: &str, depth: usize) -> Option<&Figure> {
        self.0.iter().find(|figure| {
            (&*figure.unit, &*figure.group, &*figure.what, figure.depth)
                == (unit, group, what, depth)
        })
    }

    fn on(&self, kernel: &str, group: &str, what: &str) -> Option<i64> {
        let mut figures = self.0.iter();
        let found = figures.find(|f| (&*f.kernel, &*f.group, &*f.what) == (kernel, group, what));
        found.map(|figure| figure.median)
    }

    /// By how much the second kernel is larger than the first.
    fn growth(&self, before: &str, after: &str, group: &str, what: &str) -> Option<i64> {
        Some(self.on(after, group, what)? - self.on(before, group, what)?)
    }

    fn depths(&self, unit: &str, group: &str) -> BTreeSet<usize> {
        let figures = self
            .0
            .iter()
            .filter(|f| (&*f.unit, &*f.group) == (unit, group));
        figures.map(|figure| figure.depth).collect()
    }

    /// The names of a group's figures, in the order in which they were measured.
    fn names(&self, unit: &str, group: &str) -> Vec<&str> {
        let mut names = Vec::new();
        for figure in self
            .0
            .iter()
            .filter(|f| (&*f.unit, &*f.group) == (unit, group))
        {
            if !names.contains(&&*figure.what) {
                names.push(&*figure.what);
            }
        }
        names
    }

    /// A table with a line for each depth, and a column for each name.
    fn table(&self, unit: &str, group: &str, names: &[&str], cell: impl Fn(&Figure) -> String) {
        println!("| depth | {} |", names.join(" | "));
        println!("|--:|{}", "--:|".repeat(names.len()));
        for depth in self.depths(unit, group) {
            let cells = names.iter().map(|name| {
                let figure = self.find(unit, group, name, depth);
                figure.map_or(String::new(), &cell)
            });
            println!("| {depth} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
        println!();
    }
}

/// Formats a number with commas between thousands.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let (mut text, length) = (
        String::from(if number < 0 { "-" } else { "" }),
        digits.len(),
    );
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (length - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn tables(run: &Run) {
    let ways = run.names("instructions", "task");
    println!("### One task created and reaped, instructions\n");
    println!(
        "Plain clone, then what each way adds to the clone of the same round (quartiles in brackets).\n"
    );
    run.table("instructions", "task", &ways, |figure| {
        match figure.what.as_str() {
            "clone" => grouped(figure.median),
            _ => format!(
                "{} [{} … {}]",
                grouped(figure.adds.unwrap_or_default()),
                grouped(figure.adds_low.unwrap_or_default()),
                grouped(figure.adds_high.unwrap_or_default())
            ),
        }
    });

    let calls = run.names("instructions", "call");
    let (moves, calls): (Vec<&str>, Vec<&str>) = calls
        .into_iter()
        .filter(|name| *name != "NS_GET_ID")
        .partition(|name| name.starts_with("move"));
    println!("### The calls alone, instructions (two reads of the clock included)\n");
    run.table("instructions", "call", &calls, |figure| {
        grouped(figure.median)
    });
    println!("### Moving the last pid of one namespace from outside, instructions\n");
    run.table("instructions", "call", &moves, |figure| {
        grouped(figure.median)
    });

    println!("### One task in real time, microseconds (context switches, wakeups)\n");
    run.table("ns", "task", &ways, |figure| {
        format!(
            "{:.0} ({}, {})",
            figure.median as f64 / 1000.0,
            figure.switches.unwrap_or_default(),
            figure.wakeups.unwrap_or_default()
        )
    });

    println!("### The kernel's growth, bytes\n");
    println!(
        "Text is code and read-only data (llvm-size), the sum over the object files in vmlinux.a without\n\
         kernel/configs.o and rust/exports.o. vmlinux has tables of all symbols, too, and rounds parts to pages.\n"
    );
    println!(
        "| symbol | text without the series | with it | growth | of data | of bss | of vmlinux: text / data / bss |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for (symbol, before, after, _) in GROWTHS {
        let text = |kernel| {
            run.on(kernel, "objects", "text")
                .map_or(String::new(), grouped)
        };
        let growth = |group, what| {
            run.growth(before, after, group, what)
                .map_or(String::new(), grouped)
        };
        println!(
            "| {symbol} | {} | {} | {} | {} | {} | {} |",
            text(before),
            text(after),
            growth("objects", "text"),
            growth("objects", "data"),
            growth("objects", "bss"),
            ["text", "data", "bss"]
                .map(|what| growth("vmlinux", what))
                .join(" / ")
        );
    }
    if let (Some(off), Some(on)) = (
        run.on("off", "call", "NS_GET_ID"),
        run.on("on", "call", "NS_GET_ID"),
    ) {
        println!(
            "\nNS_GET_ID, instructions: {} with the symbol off, {} with it on",
            grouped(off),
            grouped(on)
        );
    }
    println!("\nAllocations from slab caches in one call with 32 numbers:");
    for name in run.names("count", "alloc") {
        let figure = run.find("count", "alloc", name, 31);
        println!("  {name}: {}", figure.map_or(0, |figure| figure.high));
    }
    println!();
}

/// Prints whether the run keeps each bound that the project promises.
fn bars(run: &Run) -> Option<()> {
    let say =
        |kept: bool, text: String| println!("  {}  {text}", if kept { "kept  " } else { "MISSED" });
    let task = |what, depth| run.find("instructions", "task", what, depth);
    let call = |what| {
        run.find("instructions", "call", what, 31)
            .map(|figure| figure.median)
    };
    println!("### The bars\n");
    let (set, c_port) = (call("set")?, call("set, C port")?);
    // Within 3 % of version 1 of the series.
    for (depth, most) in [(0, 1_219), (31, 4_785)] {
        let set = run.find("instructions", "call", "set", depth)?.median;
        let (text, bound) = (grouped(set), grouped(most));
        say(
            set <= most,
            format!("the ioctl alone at depth {depth}: {text} (at most {bound})"),
        );
    }
    let percent = 100 * set / c_port;
    let text = call("set by the crate, text and all")? - set;
    say(
        text <= set,
        format!(
            "added by the crate, with the text to format: {} (at most as much)",
            grouped(text)
        ),
    );
    say(
        percent <= 40,
        format!(
            "of the C port's {}: {percent} % (at most 40)",
            grouped(c_port)
        ),
    );
    let ioctl = task("ioctl, clone", 31)?.adds?;
    let times = |helpers| Some(task(helpers, 31)?.adds? as f64 / ioctl.max(1) as f64);
    let pipes = times("helpers on pipes, clone")?;
    say(
        pipes >= 60.0,
        format!(
            "helpers on pipes add {pipes:.0} times what the ioctl adds at depth 31 (at least 60)"
        ),
    );
    println!(
        "          helpers on futexes, all woken at once, {:.0} times",
        times("helpers on futexes, clone")?
    );
    for depth in run.depths("instructions", "task") {
        let (ours, set_tid) = (
            task("ioctl, clone", depth)?,
            task("clone3(set_tid)", depth)?,
        );
        let beyond = 100.0 * (ours.adds? - set_tid.adds?) as f64 / set_tid.median as f64;
        say(
            beyond <= 2.0,
            format!("beyond clone3(set_tid) at depth {depth}: {beyond:.1} % (at most 2)"),
        );
    }
    for (symbol, before, after, most) in GROWTHS {
        let text = run.growth(before, after, "objects", "text")?;
        let (growth, bound) = (grouped(text), grouped(most));
        say(
            text <= most,
            format!("growth of the text, symbol {symbol}: {growth} bytes (at most {bound})"),
        );
    }
    println!();
    Some(())
}

/// Prints the differences from the saved run. Times are not compared: they do not repeat.
fn moved(run: &Run, saved: &Run) {
    let mut compared = 0;
    println!("### Moved by more than {MOVED} % since the saved run\n");
    for figure in run.0.iter().filter(|figure| figure.unit != "ns") {
        let same = |f: &&Figure| {
            (&f.kernel, &f.unit, &f.group, &f.what, f.depth)
                == (
                    &figure.kernel,
                    &figure.unit,
                    &figure.group,
                    &figure.what,
                    figure.depth,
                )
        };
        let Some(before) = saved.0.iter().find(same) else {
            continue;
        };
        compared += 1;
        let percent = 100.0 * (figure.median - before.median) as f64 / before.median.max(1) as f64;
        if percent.abs() > MOVED {
            println!(
                "  {}, {}, depth {}: {} was {} ({percent:+.1} %)",
                figure.group,
                figure.what,
                figure.depth,
                grouped(figure.median),
                grouped(before.median)
            );
        }
    }
    println!("  ({compared} figures compared)\n");
}

/// Draws the cost that each way adds, against depth. Each line is labelled where it ends.
fn picture(run: &Run, path: &Path) -> Result<()> {
    const LOWEST: i64 = 50;
    const HIGHEST: i64 = 20_000_000;
    const LINE_HEIGHT: i32 = 15;
    const COLOURS: [RGBColor; 6] = [
        RGBColor(214, 39, 40),
        RGBColor(44, 160, 44),
        RGBColor(120, 120, 120),
        RGBColor(31, 119, 180),
        RGBColor(255, 127, 14),
        RGBColor(148, 103, 189),
    ];
    let root = SVGBackend::new(path, (900, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .margin_right(180)
        .caption(
            "The cost that choosing the pids adds to one task",
            ("sans-serif", 20),
        )
        .x_label_area_size(44)
        .y_label_area_size(84)
        .build_cartesian_2d(0..32, (LOWEST..HIGHEST).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("levels below the restorer")
        .y_desc("instructions, log scale")
        .y_label_formatter(&|instructions| grouped(*instructions))
        .light_line_style(TRANSPARENT)
        .draw()?;
    let mut labels = Vec::new();
    let ways = run.names("instructions", "task");
    let ways = ways.into_iter().filter(|way| *way != "clone");
    for (way, colour) in ways.zip(COLOURS) {
        let points = run.depths("instructions", "task").into_iter();
        let points = points.filter_map(|depth| {
            let added = run.find("instructions", "task", way, depth)?.adds?;
            // A difference of medians can be too small for the scale. Then it has no point.
            (LOWEST..HIGHEST)
                .contains(&added)
                .then_some((depth as i32, added))
        });
        let points: Vec<_> = points.collect();
        if let Some(end) = points.last() {
            let (x, y) = chart.backend_coord(end);
            labels.push((
                y,
                x,
                way.replace(", clone", "").replace("; clone", ""),
                colour,
            ));
        }
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?;
    }
    labels.sort_by_key(|label| label.0);
    let mut lowest = 0;
    for (y, x, way, colour) in labels {
        lowest = (y - LINE_HEIGHT / 2).max(lowest + LINE_HEIGHT);
        let style = ("sans-serif", 13).into_font().color(&colour);
        root.draw(&Text::new(way, (x + 16, lowest), style))?;
    }
    root.present()?;
    Ok(())
}

fn main() -> Result<()> {
    let args = Args::parse();
    let read_all = args.figures.iter().map(|path| read(path));
    let run = Run(read_all.collect::<Result<Vec<_>>>()?.concat());
    tables(&run);
    if bars(&run).is_none() {
        println!("  some figures are missing\n");
    }
    if args.saved.exists() {
        moved(&run, &Run(read(&args.saved)?));
    }
    picture(&run, &args.svg)?;
    let mut output = csv::Writer::from_path(&args.csv)?;
    for figure in &run.0 {
        output.serialize(figure)?;
    }
    output.flush()?;
    Ok(())
}
