//! What `-d` shows of a program's way into the kernel, on stderr.

use crate::cli::Stage;
use crate::lang::program::{Code, Program};
use crate::lang::source::Sources;
use crate::lang::typed::Typed;

/// The tree, and the types of maps.
pub(super) fn show(typed: &Typed, stages: &[Stage]) {
    let is_wanted = |stage| stages.contains(&stage) || stages.contains(&Stage::All);
    if is_wanted(Stage::Ast) {
        eprintln!("Tree:\n{:#?}", typed.script);
    }
    if is_wanted(Stage::Types) {
        eprintln!("Maps:\n{:#?}", typed.maps);
    }
}

/// Instructions, below the lines that they come from.
pub(super) fn show_code(program: &Program, sources: &Sources, stages: &[Stage]) {
    if !stages.contains(&Stage::Codegen) && !stages.contains(&Stage::All) {
        return;
    }
    for (place, map) in program.maps.iter().enumerate() {
        eprintln!("map {place} {}: {map:?}", map.name);
    }
    for probe in &program.probes {
        eprintln!("{}:", probe.name);
        show_instructions(&probe.code, sources);
    }
    for (place, function) in program.functions.iter().enumerate() {
        eprintln!("function {place} {}:", function.name);
        show_instructions(&function.code, sources);
    }
}

fn show_instructions(code: &Code, sources: &Sources) {
    let mut lines = code.lines.iter().peekable();
    for (at, insn) in code.insns.iter().enumerate() {
        while let Some((_, span)) = lines.next_if(|(line, _)| *line as usize == at) {
            eprintln!("  ; {} {}", sources.place(*span), sources.text(*span).replace('\n', " "));
        }
        let (dst, src) = (insn.dst_reg(), insn.src_reg());
        eprintln!("  {at:4}: {:02x} r{dst} r{src} {:+} {:#x}", insn.code, insn.off, insn.imm);
    }
}
