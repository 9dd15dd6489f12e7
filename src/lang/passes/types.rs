//! Every expression gets its type, and what the language converts by itself becomes a cast.
//!
//! A variable's or map's type is the smallest that holds all that is assigned to it anywhere, so the tree is walked
//! until no type grows any more. A last walk tells errors, puts casts in, and replaces what is known now: `sizeof`,
//! `comptime` and the like.

use std::collections::BTreeMap;
use std::mem;

use super::super::ast::*;
use super::super::probe::Probe as Place;
use super::super::source::Span;
use super::super::typed::{Map, MapKind};
use super::super::types::{Int, Name, Type};
use super::Context;
use join::Known;

mod access;
mod aggregates;
mod calls;
mod coerce;
mod expr;
mod formats;
mod join;
mod place;
mod reduce;
mod spec;
mod statement;

/// How often the tree is walked at most. Types only grow, and tuples of integers grow a few times at most.
const MOST_WALKS: usize = 64;

/// Types a whole script. Gives its maps.
pub(super) fn run(script: &mut Script, context: &mut Context<'_>) -> Vec<Map> {
    let mut typer = Typer::new(context);
    typer.declare(script);
    let mut locals = typer.locals_of(script);
    for _ in 0..MOST_WALKS {
        typer.changed = false;
        typer.walk(script, &mut locals);
        if !typer.changed && !typer.settle() {
            break;
        }
    }
    typer.is_final = true;
    typer.walk(script, &mut locals);
    store(script, locals);
    typer.maps()
}

/// Puts the types of variables where they belong.
fn store(script: &mut Script, locals: Vec<Vec<Known>>) {
    let functions = script.functions.iter_mut().map(|function| &mut function.locals);
    let bodies = functions.chain(script.probes.iter_mut().map(|probe| &mut probe.locals));
    for (body, known) in bodies.zip(locals) {
        for (local, known) in body.iter_mut().zip(known) {
            local.ty = known.ty;
        }
    }
}

/// What is known of a map.
#[derive(Debug, Default)]
struct Facts {
    /// Its keys.
    key: Known,
    /// Its values.
    value: Known,
    /// Whether it is used without keys, if that is known.
    is_scalar: Option<bool>,
    /// Where it is first.
    span: Span,
    /// Its declaration.
    declared: Option<(MapKind, u64, Span)>,
    /// Whether anything uses it.
    is_used: bool,
    /// Whether something was assigned that can't be, so that its type isn't known.
    is_refused: bool,
}

struct Typer<'a, 'c> {
    context: &'a mut Context<'c>,
    maps: BTreeMap<Name, Facts>,
    /// The current body's variables.
    locals: Vec<Known>,
    /// Where the current body is attached; none of a function.
    place: Option<Place>,
    /// The name of that place in full.
    place_name: Name,
    /// Of functions: what they return and take.
    functions: BTreeMap<Name, (Type, Vec<Type>)>,
    /// What the current function returns.
    returns: Option<Type>,
    /// Whether this is the last walk.
    is_final: bool,
    /// Whether a type grew in this walk.
    changed: bool,
    /// How many loops are around the current place.
    loops: u32,
}

impl<'a, 'c> Typer<'a, 'c> {
    fn new(context: &'a mut Context<'c>) -> Typer<'a, 'c> {
        Typer {
            context,
            maps: BTreeMap::new(),
            locals: Vec::new(),
            place: None,
            place_name: "".into(),
            functions: BTreeMap::new(),
            returns: None,
            is_final: false,
            changed: false,
            loops: 0,
        }
    }

    /// Takes declarations of maps and functions in.
    fn declare(&mut self, script: &mut Script) {
        for decl in &script.maps {
            let Some(kind) = MapKind::named(&decl.kind) else {
                let message = format!("Invalid bpf map type: {}", decl.kind);
                let told = self.context.diagnostics.error(decl.span, message);
                told.hint("Valid map types: hash, lruhash, percpuhash, percpulruhash");
                continue;
            };
            let facts = self.maps.entry(decl.name.clone()).or_default();
            facts.declared = Some((kind, decl.entries, decl.span));
            facts.span = decl.span;
        }
        for function in &mut script.functions {
            let returns = self.spec(&mut function.returns);
            let takes = function.parameters.iter_mut().map(|(_, spec)| self.spec(spec)).collect();
            self.functions.insert(function.name.clone(), (returns, takes));
        }
    }

    /// Of each body, what is known of its variables.
    fn locals_of(&mut self, script: &Script) -> Vec<Vec<Known>> {
        let functions = script.functions.iter().map(|function| {
            let (_, takes) = &self.functions[&function.name];
            let mut locals: Vec<Known> = vec![Known::default(); function.locals.len()];
            for ((variable, _), ty) in function.parameters.iter().zip(takes) {
                locals[variable.id.0 as usize] = Known::fixed(ty.clone());
            }
            locals
        });
        let probes = script.probes.iter().map(|probe| vec![Known::default(); probe.locals.len()]);
        functions.chain(probes).collect()
    }

    /// Walks all bodies once.
    fn walk(&mut self, script: &mut Script, locals: &mut [Vec<Known>]) {
        let (functions, probes) = locals.split_at_mut(script.functions.len());
        for (function, locals) in script.functions.iter_mut().zip(functions) {
            self.locals = mem::take(locals);
            self.place = None;
            self.returns = self.functions.get(&function.name).map(|(returns, _)| returns.clone());
            self.block(&mut function.body);
            *locals = mem::take(&mut self.locals);
        }
        self.returns = None;
        for (probe, locals) in script.probes.iter_mut().zip(probes) {
            self.locals = mem::take(locals);
            let point = probe.attach_points.first();
            self.place = point.and_then(|point| point.probe.clone());
            self.place_name = point.map_or_else(|| "".into(), |point| point.name.clone());
            self.block(&mut probe.body);
            *locals = mem::take(&mut self.locals);
        }
    }

    /// Values that nothing but `++` is done to, and keys that nobody gave, are int64. Whether there were any.
    fn settle(&mut self) -> bool {
        let mut any = false;
        for facts in self.maps.values_mut().filter(|facts| facts.is_used) {
            if facts.value.ty.is_none() && facts.is_scalar.is_some() && !facts.is_refused {
                let smallest = Type::Int(Int { bits: 8, signed: true });
                facts.value = Known { ty: smallest, is_flexible: true, is_fixed: false };
                any = true;
            }
        }
        any
    }

    /// The maps that are used, with their types.
    fn maps(self) -> Vec<Map> {
        let mut maps = Vec::new();
        for (name, facts) in self.maps {
            if let Some((_, _, span)) = facts.declared
                && !facts.is_used
            {
                self.context.diagnostics.warn(span, format!("Unused map: {name}"));
                continue;
            }
            let is_scalar = facts.is_scalar != Some(false);
            let default = self.context.config.max_map_keys;
            maps.push(Map {
                name,
                key: (!is_scalar).then_some(facts.key.ty),
                value: facts.value.ty,
                kind: facts.declared.map(|(kind, _, _)| kind),
                entries: facts.declared.map_or(default, |(_, entries, _)| entries),
                span: facts.span,
            });
        }
        maps
    }

    /// Tells an error, in the last walk.
    fn error(&mut self, span: Span, message: impl Into<String>) {
        if self.is_final {
            self.context.diagnostics.error(span, message);
        }
    }

    /// Tells what may be the consequence of another error, if there is none.
    fn consequence(&mut self, span: Span, message: impl Into<String>) {
        if self.context.diagnostics.errors() == 0 {
            self.error(span, message);
        }
    }

    fn warn(&mut self, span: Span, message: impl Into<String>) {
        if self.is_final {
            self.context.diagnostics.warn(span, message);
        }
    }

    /// A type as messages have it.
    fn shown(&self, ty: &Type) -> String {
        ty.display(&self.context.structs).to_string()
    }
}
