//! What the passes make of a script: a tree in which every expression has its type, and what it needs.

use super::ast::Script;
use super::config::Config;
use super::source::{Sources, Span};
use super::types::{Name, Structs, Type};

/// A program that is known to make sense.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    /// The tree: nothing is left in it of what is syntax only.
    pub script: Script,
    /// Its maps, in the order of their names, in which they are printed.
    pub maps: Vec<Map>,
    /// The structs that its types name.
    pub structs: Structs,
    /// Its settings.
    pub config: Config,
    /// Its texts.
    pub sources: Sources,
}

/// A map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// With its `@`.
    pub name: Name,
    /// Of its keys; none of a scalar's, which has one value.
    pub key: Option<Type>,
    /// Of its values; may be an aggregate.
    pub value: Type,
    /// How the kernel keeps it, if the program says so.
    pub kind: Option<MapKind>,
    /// How many entries it may have.
    pub entries: u64,
    /// Where it is first.
    pub span: Span,
}

/// How a map is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// `hash`
    Hash,
    /// `lruhash`: makes room by itself.
    LruHash,
    /// `percpuhash`: a value for each CPU.
    PercpuHash,
    /// `percpulruhash`
    PercpuLruHash,
}

impl Typed {
    /// A map by its name.
    pub fn map(&self, name: &str) -> Option<&Map> {
        self.maps.iter().find(|map| &*map.name == name)
    }
}

impl MapKind {
    /// By the name that declarations have.
    pub fn named(name: &str) -> Option<MapKind> {
        match name {
            "hash" => Some(MapKind::Hash),
            "lruhash" => Some(MapKind::LruHash),
            "percpuhash" => Some(MapKind::PercpuHash),
            "percpulruhash" => Some(MapKind::PercpuLruHash),
            _ => None,
        }
    }
}
