//! The program as a tree.
//!
//! The parser makes it, each pass of [`passes`](super::passes) takes some kinds of nodes away or fills something in.
//! What is marked *syntax only* is gone after the passes; code generation never sees it.

use super::functions::Function;
use super::probe;
use super::source::Span;
use super::types::{Name, Type};

/// A whole program.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// `#define`, `#include`, `struct` and so on, as they are written. *Syntax only.*
    pub c: Vec<CText>,
    /// `config = { … }`. *Syntax only.*
    pub config: Vec<Setting>,
    /// `import "…"`. *Syntax only.*
    pub imports: Vec<Import>,
    /// `let @a = lruhash(100);`.
    pub maps: Vec<MapDecl>,
    /// `macro name(…) { … }`. *Syntax only.*
    pub macros: Vec<Macro>,
    /// `fn name(…) : type { … }`.
    pub functions: Vec<Subprogram>,
    /// What to do when.
    pub probes: Vec<Probe>,
}

/// A directive or declaration of C.
#[derive(Clone, Debug)]
pub struct CText {
    /// Where it is.
    pub span: Span,
}

/// `name = value` of the config block.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Which.
    pub name: Name,
    /// What it is set to.
    pub value: SettingValue,
    /// The whole.
    pub span: Span,
}

/// What a setting is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// A number.
    Int(u64),
    /// `true` or `false`.
    Bool(bool),
    /// A string or a word.
    Text(String),
}

/// `import "path";`.
#[derive(Clone, Debug)]
pub struct Import {
    /// A file or folder.
    pub path: String,
    /// The whole.
    pub span: Span,
}

/// `let @a = lruhash(100);`.
#[derive(Clone, Debug)]
pub struct MapDecl {
    /// With its `@`.
    pub name: Name,
    /// `lruhash`.
    pub kind: Name,
    /// How many entries it may have.
    pub entries: u64,
    /// The whole.
    pub span: Span,
}

/// `macro name(parameters) { body }`.
#[derive(Clone, Debug)]
pub struct Macro {
    /// Its name.
    pub name: Name,
    /// What it takes.
    pub parameters: Vec<Parameter>,
    /// What a call stands for.
    pub body: Block,
    /// From `macro` to the name.
    pub span: Span,
}

/// What a macro takes.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// With its `$` or `@`.
    pub name: Name,
    /// What goes there.
    pub kind: ParameterKind,
    /// Where it is.
    pub span: Span,
}

/// What goes in a macro's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// `$a`: a variable.
    Variable,
    /// `@a`: a map.
    Map,
    /// `a`: any expression.
    Expression,
}

/// `fn name($a : type, …) : type { body }`.
#[derive(Clone, Debug)]
pub struct Subprogram {
    /// Its name.
    pub name: Name,
    /// What it takes: the first of `locals`.
    pub parameters: Vec<(Variable, TypeSpec)>,
    /// What it returns.
    pub returns: TypeSpec,
    /// What it does.
    pub body: Block,
    /// All variables.
    pub locals: Vec<Local>,
    /// From `fn` to the name.
    pub span: Span,
}

/// What to do when something happens. A predicate is an `if` around the body.
#[derive(Clone, Debug)]
pub struct Probe {
    /// When: at any of these.
    pub attach_points: Vec<AttachPoint>,
    /// What to do.
    pub body: Block,
    /// All variables.
    pub locals: Vec<Local>,
    /// The attach points.
    pub span: Span,
}

/// One place of a probe.
#[derive(Clone, Debug)]
pub struct AttachPoint {
    /// As it is written; once expanded, in full (`kprobe:tcp_connect`).
    pub name: Name,
    /// Taken apart: there after the passes.
    pub probe: Option<probe::Probe>,
    /// Where it is written.
    pub span: Span,
}

/// A variable of a probe.
#[derive(Clone, Debug)]
pub struct Local {
    /// With its `$`.
    pub name: Name,
    /// What it holds.
    pub ty: Type,
    /// Where it is first.
    pub span: Span,
}

/// Which variable of a probe's `locals`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalId(pub u32);

/// A variable where it is used or made.
#[derive(Clone, Debug)]
pub struct Variable {
    /// With its `$`.
    pub name: Name,
    /// Which it is, by scope.
    pub id: LocalId,
    /// Where.
    pub span: Span,
}

/// `{ statements; value }`.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// One after the other.
    pub statements: Vec<Statement>,
    /// What it is worth, if its last expression has no semicolon.
    pub value: Option<Box<Expr>>,
    /// With the braces.
    pub span: Span,
}

impl Block {
    /// `{ if condition { self } }`.
    pub fn guarded(self, condition: Expr, span: Span) -> Block {
        let kind = ExprKind::If {
            condition: Box::new(condition),
            then: Box::new(Expr::new(ExprKind::Block(self), span)),
            otherwise: Box::new(Expr::new(ExprKind::None, span)),
        };
        let kind = StatementKind::Expr(Expr::new(kind, span));
        Block { statements: vec![Statement { kind, span }], value: None, span }
    }
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Which.
    pub kind: StatementKind,
    /// The whole.
    pub span: Span,
}

/// What a statement does.
#[derive(Clone, Debug)]
pub enum StatementKind {
    /// Something for its effect.
    Expr(Expr),
    /// `_ = value`.
    Discard(Expr),
    /// `let $a : type = value`.
    Let {
        /// The new variable.
        variable: Variable,
        /// Its type, if it is said.
        annotation: Option<TypeSpec>,
        /// Its value; zero without.
        value: Option<Expr>,
    },
    /// `$a = value`, `@a = value`, `@a[key] = value`. `+=` and the like are written out.
    Assign {
        /// A variable or map.
        target: Expr,
        /// What it gets.
        value: Expr,
    },
    /// `unroll (count) { … }`. *Syntax only*: the body is there so many times.
    Unroll {
        /// How often.
        count: Expr,
        /// What.
        body: Block,
    },
    /// `while (condition) { … }`.
    While {
        /// As long as this is true.
        condition: Expr,
        /// What.
        body: Block,
    },
    /// `for ($a : …) { … }`.
    For {
        /// What it is called.
        variable: Variable,
        /// Of what.
        over: Iterable,
        /// What.
        body: Block,
    },
    /// `break`.
    Break,
    /// `continue`.
    Continue,
    /// `return value`.
    Return(Option<Expr>),
    /// `import "…";`, in macros. *Syntax only.*
    Import(String),
}

/// What a `for` goes over.
#[derive(Clone, Debug)]
pub enum Iterable {
    /// The entries of a map, as tuples of key and value.
    Map(Name, Span),
    /// The integers from the first up to the second, that one not included.
    Range(Expr, Expr),
}

/// An expression.
#[derive(Clone, Debug, Default)]
pub struct Expr {
    /// Which.
    pub kind: ExprKind,
    /// What its value is: [`Type::None`] until the types are known.
    pub ty: Type,
    /// The whole.
    pub span: Span,
}

/// What an expression is.
#[derive(Clone, Debug, Default)]
pub enum ExprKind {
    /// Nothing: where there was an error, and where there is no `else`.
    #[default]
    None,
    /// A number.
    Int(i128),
    /// `true` or `false`.
    Bool(bool),
    /// `"…"`, without its escapes. Bytes: an escape can make what isn't UTF-8.
    Str(Vec<u8>),
    /// `$1`. *Syntax only.*
    Parameter(u64),
    /// `$#`. *Syntax only.*
    ParameterCount,
    /// A bare word: a macro, a variable of the language, a name of C. *Syntax only*, but for words that a function
    /// takes as an argument, as `perf` in `kstack(perf)`.
    Ident(Name),
    /// `name(…)` as it is written. After the passes it is of a subprogram.
    Call {
        /// Its name.
        name: Name,
        /// Its arguments.
        arguments: Vec<Expr>,
    },
    /// A function of the language, or a variable, which is one without arguments.
    Function {
        /// Which.
        function: Function,
        /// Its arguments.
        arguments: Vec<Expr>,
    },
    /// `arg0` and so on.
    Argument(u8),
    /// A type as an argument of a macro: `typeof(uint8)`. *Syntax only.*
    Type(TypeSpec),
    /// `sizeof(…)`. *Syntax only*: a number.
    Sizeof(TypeSpec),
    /// `offsetof(…, a.b)`. *Syntax only*: a number.
    Offsetof {
        /// The struct.
        of: TypeSpec,
        /// The field.
        path: Vec<Name>,
    },
    /// `typeinfo(…)`: a record of the type's number and names. *Syntax only.*
    Typeinfo(TypeSpec),
    /// `comptime …`: what must be known now. *Syntax only.*
    Comptime(Box<Expr>),
    /// `@a`, `@a[key]`. Without a key it is a scalar's value, or the whole map as an argument.
    Map {
        /// With its `@`.
        name: Name,
        /// Which entry.
        key: Option<Box<Expr>>,
    },
    /// `$a`.
    Variable(Variable),
    /// `&$a`, `&@a`.
    AddressOf(Box<Expr>),
    /// `a + b` and so on.
    Binary {
        /// Which.
        op: BinaryOp,
        /// The left side.
        left: Box<Expr>,
        /// The right side.
        right: Box<Expr>,
    },
    /// `-a` and so on.
    Unary {
        /// Which.
        op: UnaryOp,
        /// Of what.
        of: Box<Expr>,
    },
    /// `a++` and so on.
    Step {
        /// By how much: 1 or -1.
        by: i8,
        /// Whether it is worth what was before (`a++`).
        is_postfix: bool,
        /// A variable or map.
        of: Box<Expr>,
    },
    /// `a.b`, `a->b`: of a struct, union or record; through a pointer too.
    Field {
        /// Of what.
        of: Box<Expr>,
        /// Which.
        name: Name,
    },
    /// `a.0`, or `a[0]` of a tuple.
    TupleItem {
        /// Of what.
        of: Box<Expr>,
        /// Which.
        index: usize,
    },
    /// `a[b]` of an array, pointer, string or buffer.
    Index {
        /// Of what.
        of: Box<Expr>,
        /// Which.
        index: Box<Expr>,
    },
    /// `(type)a`. After the passes `ty` says which type, and casts that the language makes by itself are here too.
    Cast {
        /// To what.
        to: TypeSpec,
        /// What.
        of: Box<Expr>,
    },
    /// `(a, b)`.
    Tuple(Vec<Expr>),
    /// `(a = 1, b = 2)`.
    Record(Vec<(Name, Expr)>),
    /// `if a { b } else { c }`, `a ? b : c`.
    If {
        /// Which of both.
        condition: Box<Expr>,
        /// If it is true.
        then: Box<Expr>,
        /// If it isn't; [`ExprKind::None`] if nothing.
        otherwise: Box<Expr>,
    },
    /// `{ …; a }`.
    Block(Block),
}

/// A type as it is written.
#[derive(Clone, Debug, Default)]
pub struct TypeSpec {
    /// Which.
    pub kind: TypeSpecKind,
    /// The whole.
    pub span: Span,
}

/// What a type is written as.
#[derive(Clone, Debug, Default)]
pub enum TypeSpecKind {
    /// Known already: of a cast that the language made.
    #[default]
    Known,
    /// `uint32`, `string`, a `typedef`.
    Named(Name),
    /// `struct sock`, with the word before it: `struct`, `union` or `enum`.
    Tagged(Name),
    /// `…*`.
    Pointer(Box<TypeSpec>),
    /// `…[4]`; 0 if no number is given.
    Array(Box<TypeSpec>, u64),
    /// That of an expression, which isn't evaluated.
    Of(Box<Expr>),
}

/// Operators with two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
    /// `<<`
    Shl,
    /// `>>`
    Shr,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `&&`, which may leave its right side alone.
    And,
    /// `||`, which may leave its right side alone.
    Or,
}

impl BinaryOp {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::BitAnd => "&",
            BinaryOp::BitOr => "|",
            BinaryOp::BitXor => "^",
            BinaryOp::Shl => "<<",
            BinaryOp::Shr => ">>",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::And => "&&",
            BinaryOp::Or => "||",
        }
    }

    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Eq, Ge, Gt, Le, Lt, Ne};
        matches!(self, Eq | Ne | Lt | Le | Gt | Ge)
    }

    /// Whether it is `&&` or `||`.
    pub fn is_logical(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or)
    }
}

/// Operators before what they apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `~`
    BitNot,
    /// `!`
    Not,
    /// `*`
    Deref,
}

impl UnaryOp {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            UnaryOp::Neg => "-",
            UnaryOp::BitNot => "~",
            UnaryOp::Not => "!",
            UnaryOp::Deref => "*",
        }
    }
}

impl Expr {
    /// Without a type yet.
    pub fn new(kind: ExprKind, span: Span) -> Expr {
        Expr { kind, ty: Type::None, span }
    }

    /// With its type.
    pub fn typed(kind: ExprKind, ty: Type, span: Span) -> Expr {
        Expr { kind, ty, span }
    }

    /// Whether it is nothing.
    pub fn is_none(&self) -> bool {
        matches!(self.kind, ExprKind::None)
    }

    /// Whether it is a number, boolean or string as it stands.
    pub fn is_literal(&self) -> bool {
        matches!(self.kind, ExprKind::Int(_) | ExprKind::Bool(_) | ExprKind::Str(_))
    }

    /// The number that it is.
    pub fn as_int(&self) -> Option<i128> {
        if let ExprKind::Int(value) = self.kind { Some(value) } else { None }
    }

    /// The string that it is, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        if let ExprKind::Str(bytes) = &self.kind { std::str::from_utf8(bytes).ok() } else { None }
    }
}
