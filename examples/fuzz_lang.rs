//! Feeds broken programs of the bpftrace language to the compiler, from the lexer to the code, for some minutes: a panic
//! or an endless loop ends it, with the program that did it.
//!
//!     cargo run --example fuzz_lang -- MINUTES [SEED] [FOLDER]...
//!
//! Programs are made from those in tests/lang/cases and in the folders (`*.bt`): bytes and words change, go, come twice,
//! and come from other programs.

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nettrace::lang::ktypes::KernelTypes;
use nettrace::lang::{codegen, passes};

/// A program that takes longer is taken for an endless loop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Programs don't grow for ever.
const LONGEST: usize = 4096;
/// What a program is made of where no other word is at hand.
const WORDS: &[&str] = &[
    "@",
    "@x",
    "$a",
    "$1",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ":",
    "::",
    ".",
    "->",
    "..",
    "?",
    "=",
    "==",
    "!",
    "!=",
    "<<",
    ">>=",
    "++",
    "--",
    "-",
    "*",
    "/",
    "%",
    "&",
    "&&",
    "|",
    "~",
    "0",
    "1",
    "-1",
    "0xff",
    "18446744073709551615",
    "99999999999999999999",
    "1e9",
    "5s",
    "\"\"",
    "\"%d %s\"",
    "\"",
    "//",
    "/*",
    "*/",
    "#define X 1\n",
    "#if 0\n",
    "struct s { int a:3; char b[4]; };",
    "enum e { A, B };",
    "begin",
    "end",
    "interval:s:1",
    "kprobe:*",
    "uprobe:/bin/sh:*",
    "tracepoint:sched:sched_switch",
    "iter:task",
    "macro m($x) { $x }",
    "m(1)",
    "m($a)",
    "if",
    "else",
    "while",
    "for ($i : 0..9)",
    "for ($kv : @x)",
    "unroll(3)",
    "break",
    "continue",
    "return",
    "let",
    "let $a : int32",
    "config = { max_strlen = 8 }",
    "import \"x\"",
    "sizeof",
    "offsetof(struct s, a)",
    "typeof",
    "(uint8)",
    "(struct task_struct *)",
    "curtask",
    "args",
    "ctx",
    "printf(",
    "print(",
    "hist(",
    "lhist(",
    "tseries(",
    "count()",
    "avg(",
    "stats(",
    "str(",
    "buf(",
    "kstack",
    "ustack(3)",
    "strftime(\"%H\", nsecs)",
    "join(",
    "delete(@x",
    "clear(@x)",
    "len(@x)",
    "has_key(@x, 1)",
    "comptime",
    "getopt(\"a\", 1)",
    "true",
    "false",
    "(1, 2)",
    "(a = 1)",
    ".0",
    ".a",
    "nsecs",
    "pid",
    "comm",
    "arg0",
    "retval",
    "probe",
    "exit()",
];

/// A generator of random numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`, which isn't 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end.max(1)
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

fn programs(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let programs = files.filter(|path| path.extension().is_some_and(|end| end == "bt"));
    programs.filter_map(|path| fs::read_to_string(path).ok()).collect()
}

/// Words, signs and spaces, of which a program is made.
fn words(text: &str) -> Vec<&str> {
    let kind = |c: char| (c.is_alphanumeric() || "_$@".contains(c), c.is_whitespace());
    let mut words = Vec::new();
    let mut begin = 0;
    let mut last = None;
    for (at, c) in text.char_indices() {
        let is_new = last.is_some_and(|last| last != kind(c)) || kind(c) == (false, false);
        if is_new && at > begin {
            words.push(&text[begin..at]);
            begin = at;
        }
        last = Some(kind(c));
    }
    words.push(&text[begin..]);
    words
}

/// A program that is a little different.
fn mutated(text: &str, other: &str, random: &mut Random) -> String {
    let mut words = words(text);
    let others = self::words(other);
    for _ in 0..=random.below(4) {
        let at = random.below(words.len());
        match random.below(8) {
            0 => _ = words.remove(at),
            1 => words.insert(at, words[at]),
            2 => {
                let with = random.below(words.len());
                words.swap(at, with);
            }
            3 | 4 => words.insert(at, random.one(WORDS)),
            5 => words[at] = random.one(&others),
            6 => {
                let from = random.below(others.len());
                let to = (from + 1 + random.below(20)).min(others.len());
                words.splice(at..at, others[from..to].iter().copied());
            }
            _ => words[at] = random.one(WORDS),
        }
        if words.is_empty() {
            words.push("begin");
        }
    }
    let mut text = words.concat();
    if random.below(8) == 0 {
        let mut bytes = text.into_bytes();
        let at = random.below(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte = random.next() as u8;
        }
        text = String::from_utf8_lossy(&bytes).into_owned();
    }
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}

/// Whether it compiles.
fn compile(text: &str) -> bool {
    let kernel = KernelTypes::new();
    let parameters = vec!["1".to_owned(), "text".to_owned()];
    let options = passes::Options { parameters, is_unsafe: true, ..Default::default() };
    let checked = passes::check("stdin", text, &options, &kernel);
    checked.diagnostics.render(&checked.sources);
    let Some(typed) = checked.typed else { return false };
    codegen::generate(&typed, &kernel, &codegen::Options::default()).is_ok()
}

fn main() {
    let mut arguments = env::args().skip(1);
    let minutes: f64 = arguments.next().and_then(|word| word.parse().ok()).unwrap_or(1.0);
    let seed: u64 = arguments.next().and_then(|word| word.parse().ok()).unwrap_or(1);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lang/cases");
    let folders = [own].into_iter().chain(arguments.map(PathBuf::from));
    let corpus: Vec<String> = folders.flat_map(|folder| programs(&folder)).collect();
    assert!(!corpus.is_empty(), "there are no programs to begin with");
    let mut random = Random(seed.max(1));
    let now = Arc::new(Mutex::new((Instant::now(), String::new())));
    watch(Arc::clone(&now));
    panic::set_hook(Box::new(|what| eprintln!("{what}")));
    let began = Instant::now();
    let mut pool = corpus.clone();
    let (mut tried, mut compiled) = (0_u64, 0_u64);
    while began.elapsed().as_secs_f64() < minutes * 60.0 {
        let base = pool[random.below(pool.len())].clone();
        let other = &corpus[random.below(corpus.len())];
        let text = mutated(&base, other, &mut random);
        *now.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), text.clone());
        match panic::catch_unwind(AssertUnwindSafe(|| compile(&text))) {
            Ok(is_program) => {
                tried += 1;
                compiled += u64::from(is_program);
                // What compiles is worth going on from.
                if is_program && pool.len() < 4096 {
                    pool.push(text);
                }
            }
            Err(_) => failed("panics", &text),
        }
    }
    println!("{tried} programs, {compiled} of them compiled; none panicked (seed {seed})");
}

/// Ends everything if a program takes too long.
fn watch(now: Arc<Mutex<(Instant, String)>>) {
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(1));
            let (began, text) = now.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if began.elapsed() > PATIENCE {
                failed("takes too long", &text);
            }
        }
    });
}

fn failed(how: &str, text: &str) -> ! {
    eprintln!("this program {how}:\n{text}");
    exit(1);
}
