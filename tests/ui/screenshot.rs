//! The picture in the README: `make screenshot` makes it anew, from the real program.

use std::fmt::Write;
use std::thread;
use std::time::Duration;

use crate::pty::Program;
use crate::transfer::Transfer;

const SIZE: (u16, u16) = (110, 30);
/// Of a cell, in pixels.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 16.3;
const MARGIN: f64 = 12.0;
const BACKGROUND: &str = "#11151a";
const FOREGROUND: &str = "#d4d8de";
const SIXTEEN: [&str; 16] = [
    "#1b2026", "#d9626c", "#7fb26b", "#d6a95c", "#5f9bd6", "#b285cf", "#56b0ab", "#c6cbd2",
    "#5b646f", "#e8808a", "#9ccc88", "#e6c07b", "#7db2e8", "#c99ee4", "#76cbc6", "#f0f2f5",
];

#[test]
#[ignore = "it writes docs/dashboard.svg: make screenshot"]
fn screenshot() {
    let transfer = Transfer::start();
    let mut program = Program::start(SIZE);
    program.wait_for(&["─ procs  ", "every 1s"]);
    program.press(&format!("2/netns:{}\r", transfer.pair.a));
    program.wait_for(&["─ conns  1 row,"]);
    program.press("\r");
    program.wait_for(&["conns › tcp", "SRTT", "LIMIT"]);
    // The charts fill.
    thread::sleep(Duration::from_secs(25));
    let picture = program.with_screen(svg);
    program.press("q");
    program.wait();
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
    std::fs::create_dir_all(docs).unwrap();
    std::fs::write(format!("{docs}/dashboard.svg"), picture).unwrap();
}

/// What is alike in neighbouring cells.
#[derive(Clone, PartialEq)]
struct Look {
    foreground: String,
    background: String,
    bold: bool,
}

fn look(cell: &vt100::Cell) -> Look {
    let foreground = colour(cell.fgcolor()).unwrap_or(FOREGROUND.to_owned());
    let background = colour(cell.bgcolor()).unwrap_or(BACKGROUND.to_owned());
    let (foreground, background) =
        if cell.inverse() { (background, foreground) } else { (foreground, background) };
    Look { foreground, background, bold: cell.bold() }
}

fn colour(colour: vt100::Color) -> Option<String> {
    match colour {
        vt100::Color::Default => None,
        vt100::Color::Rgb(r, g, b) => Some(format!("#{r:02x}{g:02x}{b:02x}")),
        vt100::Color::Idx(n @ 0..16) => Some(SIXTEEN[usize::from(n)].to_owned()),
        vt100::Color::Idx(n @ 16..232) => {
            let level = |n: u8| if n == 0 { 0 } else { 55 + n * 40 };
            let n = n - 16;
            let (r, g, b) = (level(n / 36), level(n / 6 % 6), level(n % 6));
            Some(format!("#{r:02x}{g:02x}{b:02x}"))
        }
        vt100::Color::Idx(n) => {
            let grey = 8 + (n - 232) * 10;
            Some(format!("#{grey:02x}{grey:02x}{grey:02x}"))
        }
    }
}

fn svg(screen: &vt100::Screen) -> String {
    let (columns, lines) = SIZE;
    let (width, height) =
        (f64::from(columns) * WIDTH + 2.0 * MARGIN, f64::from(lines) * HEIGHT + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for line in 0..lines {
        let mut column = 0;
        while column < columns {
            let Some(first) = screen.cell(line, column) else { break };
            let (start, look_of_run) = (column, look(first));
            let mut text = String::new();
            while let Some(cell) =
                screen.cell(line, column).filter(|cell| look(cell) == look_of_run)
            {
                text.push_str(if cell.contents().is_empty() { " " } else { cell.contents() });
                column += 1;
            }
            draw(&mut svg, line, start, column - start, &text, &look_of_run);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, line: u16, column: u16, count: u16, text: &str, look: &Look) {
    let x = MARGIN + f64::from(column) * WIDTH;
    let y = MARGIN + f64::from(line) * HEIGHT;
    let width = f64::from(count) * WIDTH;
    if look.background != BACKGROUND {
        let fill = &look.background;
        writeln!(svg, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{HEIGHT}\" fill=\"{fill}\"/>").unwrap();
    }
    if text.trim().is_empty() {
        return;
    }
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let weight = if look.bold { " font-weight=\"bold\"" } else { "" };
    let (fill, y) = (&look.foreground, y + HEIGHT * 0.8);
    writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{fill}\"{weight} textLength=\"{width:.1}\" \
         lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\">{text}</text>"
    )
    .unwrap();
}
