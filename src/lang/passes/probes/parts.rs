//! The words of an attach point, by provider.

use super::super::super::lexer;
use super::super::super::probe::{Address, HARDWARE, PROVIDERS, Period, Probe, SIGNALS, SOFTWARE};
use super::super::super::types::Name;
use super::Context;

/// What is wrong with an attach point.
type Parsed<T> = Result<T, String>;

/// Takes an attach point apart. The name of its probe is in front of it.
pub(super) fn parse(text: &str, context: &Context<'_>) -> Parsed<Probe> {
    let parts = split(&fill_in(text, &context.options.parameters)?);
    let mut words: Vec<&str> = parts.iter().map(String::as_str).collect();
    let first = words.remove(0);
    // `name=` goes before the provider, and is for later.
    let first = first.split_once('=').map_or(first, |(_, provider)| provider);
    let provider = provider(first).ok_or_else(|| format!("Invalid probe type: {first}"))?;
    let reader = Reader {
        provider,
        words: &words,
        is_unsafe: context.options.is_unsafe,
        has_pid: context.options.pid.is_some(),
    };
    match provider {
        "begin" | "end" => reader.begin_or_end(),
        "self" => reader.signal(),
        "test" => Ok(Probe::Test(reader.one()?)),
        "bench" => Ok(Probe::Bench(reader.one()?)),
        "interval" => Ok(Probe::Interval(reader.period()?)),
        "profile" => Ok(Probe::Profile(reader.period()?)),
        "software" => {
            let (event, count) = reader.event(SOFTWARE)?;
            Ok(Probe::Software { event, count })
        }
        "hardware" => {
            let (event, count) = reader.event(HARDWARE)?;
            Ok(Probe::Hardware { event, count })
        }
        "tracepoint" => reader.tracepoint(),
        "rawtracepoint" => reader.raw_tracepoint(),
        "fentry" | "fexit" => reader.fentry(),
        "kprobe" | "kretprobe" => reader.kprobe(),
        "uprobe" | "uretprobe" => reader.uprobe(),
        "usdt" => reader.usdt(),
        "iter" => reader.iter(),
        _ => reader.watchpoint(),
    }
}

/// A provider's full name.
fn provider(word: &str) -> Option<&'static str> {
    let found = PROVIDERS.iter().find(|(name, short)| *name == word || *short == word);
    found.map(|(name, _)| *name).filter(|_| !word.is_empty())
}

/// With `$1` and so on replaced, but for those in quotes.
fn fill_in(text: &str, parameters: &[String]) -> Parsed<String> {
    let (mut filled, mut in_quotes) = (String::new(), false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        in_quotes ^= c == '"';
        if c != '$' || in_quotes {
            filled.push(c);
            continue;
        }
        let mut digits = String::new();
        while let Some(digit) = rest.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        let Some(number) = digits.parse::<usize>().ok().filter(|number| *number > 0) else {
            let next = rest.peek().map_or(digits, char::to_string);
            return Err(format!(
                "invalid trailing character for positional param: {next}. Try quoting this entire \
                 part if this is intentional e.g. \"${next}\"."
            ));
        };
        filled.push_str(parameters.get(number - 1).map_or("", String::as_str));
    }
    Ok(filled)
}

/// At colons that aren't in quotes. `@` is a part of its own.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut in_quotes) = (Vec::new(), String::new(), false);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            ':' | '@' if !in_quotes => {
                parts.push(std::mem::take(&mut part));
                if c == '@' {
                    parts.push("@".to_owned());
                }
            }
            '"' => in_quotes = !in_quotes,
            '\\' if in_quotes => part.extend(rest.next()),
            _ => part.push(c),
        }
    }
    parts.push(part);
    parts
}

struct Reader<'a> {
    provider: &'static str,
    /// What is behind the provider.
    words: &'a [&'a str],
    is_unsafe: bool,
    has_pid: bool,
}

impl Reader<'_> {
    fn wrong_count<T>(&self, expected: &str) -> Parsed<T> {
        let (provider, found) = (self.provider, self.words.len());
        Err(format!("{provider} probe type requires {expected} arguments, found {found}"))
    }

    fn one(&self) -> Parsed<Name> {
        match self.words {
            [""] => Err(format!("{} probes must have a name", self.provider)),
            [name] => Ok((*name).into()),
            _ => self.wrong_count("1"),
        }
    }

    fn begin_or_end(&self) -> Parsed<Probe> {
        match (self.provider, self.words) {
            ("begin", [] | ["*"]) => Ok(Probe::Begin),
            (_, [] | ["*"]) => Ok(Probe::End),
            _ => self.wrong_count("0"),
        }
    }

    fn signal(&self) -> Parsed<Probe> {
        match self.words {
            ["signal", name] if SIGNALS.contains(name) => Ok(Probe::SelfSignal((*name).into())),
            ["signal", name] => Err(format!("{name} is not a supported signal")),
            [trigger, _] => Err(format!("{trigger} is not a supported trigger")),
            _ => self.wrong_count("2"),
        }
    }

    fn number(&self, word: &str) -> Parsed<u64> {
        lexer::int(word).map_err(|_| format!("Invalid number in {} probe: {word}", self.provider))
    }

    /// `s:1`, `hz:99`, or `10ms`.
    fn period(&self) -> Parsed<Period> {
        let positive = |number: u64| match number {
            0 if self.provider == "profile" => {
                Err("profile frequency should be a positive integer".to_owned())
            }
            0 => Err("interval frequency should be a positive integer".to_owned()),
            number => Ok(number),
        };
        match self.words {
            [count] => Ok(Period::Nanoseconds(positive(self.number(count)?)?)),
            [unit, count] => {
                let count = positive(self.number(count)?)?;
                let unit = match *unit {
                    "hz" => return Ok(Period::Hertz(count)),
                    "us" => 1_000,
                    "ms" => 1_000_000,
                    "s" => 1_000_000_000,
                    _ => return Err(format!("{unit} is not an accepted unit of time")),
                };
                let nanoseconds = count.checked_mul(unit);
                nanoseconds.map(Period::Nanoseconds).ok_or_else(|| format!("{count} is too long"))
            }
            _ => self.wrong_count("1 or 2"),
        }
    }

    fn event(&self, known: &[(&str, &str)]) -> Parsed<(Name, u64)> {
        let (event, count) = match self.words {
            [event] | [event, ""] => (*event, 0),
            [event, count] => (*event, self.number(count)?),
            _ => return self.wrong_count("1 or 2"),
        };
        if event.contains(['*', '?', '[']) {
            return Err(format!("wildcards are not allowed for {} probe type", self.provider));
        }
        let found = known.iter().find(|(name, other)| event == *name || event == *other);
        match found.filter(|_| !event.is_empty()) {
            Some((name, _)) => Ok(((*name).into(), count)),
            None => Err(format!("{event} is not a {} probe", self.provider)),
        }
    }

    fn tracepoint(&self) -> Parsed<Probe> {
        match self.words {
            ["", _] | [_, ""] => Err("tracepoint probe must have a target".to_owned()),
            [category, event] => {
                Ok(Probe::Tracepoint { category: (*category).into(), event: (*event).into() })
            }
            _ => self.wrong_count("2"),
        }
    }

    fn raw_tracepoint(&self) -> Parsed<Probe> {
        match self.words {
            [event] | [_, event] if event.is_empty() => {
                Err("rawtracepoint should be attached to a function".to_owned())
            }
            [event] => Ok(Probe::RawTracepoint { module: None, event: (*event).into() }),
            [module, event] => {
                Ok(Probe::RawTracepoint { module: Some((*module).into()), event: (*event).into() })
            }
            _ => self.wrong_count("1 or 2"),
        }
    }

    fn fentry(&self) -> Parsed<Probe> {
        let at_return = self.provider == "fexit";
        match self.words {
            [.., ""] => Err("fentry/fexit should specify a function".to_owned()),
            ["bpf", function] => {
                Ok(Probe::FentryBpf { at_return, id: None, function: (*function).into() })
            }
            ["bpf", id, function] => Ok(Probe::FentryBpf {
                at_return,
                id: match id {
                    &"*" => None,
                    id => {
                        let number = u32::try_from(self.number(id)?);
                        Some(number.map_err(|_| format!("there is no BPF program {id}"))?)
                    }
                },
                function: (*function).into(),
            }),
            [function] => {
                Ok(Probe::Fentry { at_return, module: None, function: (*function).into() })
            }
            [module, function] => Ok(Probe::Fentry {
                at_return,
                module: Some((*module).into()),
                function: (*function).into(),
            }),
            _ => self.wrong_count("1, 2 or 3"),
        }
    }

    /// `function`, `function+8`, or a number.
    fn address(&self, word: &str) -> Parsed<Address> {
        if word.is_empty() {
            return Err(format!("{} probe must have a function, offset or address", self.provider));
        }
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Address::Absolute(self.number(word)?));
        }
        let Some((name, offset)) = word.rsplit_once('+') else {
            return Ok(Address::Function { name: word.into(), offset: 0 });
        };
        if name.contains('+') {
            return Err("Cannot take more than one offset".to_owned());
        }
        if name.is_empty() || offset.is_empty() {
            return Err("Invalid offset".to_owned());
        }
        let number = lexer::int(offset).map_err(|bad| format!("Invalid offset: {bad}"))?;
        if number != 0 && matches!(self.provider, "kretprobe" | "uretprobe") {
            return Err("Offset not allowed".to_owned());
        }
        Ok(Address::Function { name: name.into(), offset: number })
    }

    fn kprobe(&self) -> Parsed<Probe> {
        let at_return = self.provider == "kretprobe";
        let (module, word) = match self.words {
            [word] => (None, *word),
            [module, word] => (Some((*module).into()), *word),
            _ => return self.wrong_count("1 or 2"),
        };
        let at = self.address(word)?;
        if matches!(at, Address::Absolute(_)) && !self.is_unsafe {
            return Err("Probing by address requires --unsafe".to_owned());
        }
        Ok(Probe::Kprobe { at_return, module, at })
    }

    fn uprobe(&self) -> Parsed<Probe> {
        let at_return = self.provider == "uretprobe";
        let probe =
            |file: &str, is_cpp, at| Ok(Probe::Uprobe { at_return, file: file.into(), is_cpp, at });
        match self.words {
            [file, "@", source, line] => {
                let line = self.line(source, line, "0")?;
                probe(file, false, line)
            }
            [file, "@", source, line, column] => {
                let line = self.line(source, line, column)?;
                probe(file, false, line)
            }
            [file, at] => probe(file, false, self.address(at)?),
            [file, "cpp", at] => {
                probe(file, true, Address::Function { name: (*at).into(), offset: 0 })
            }
            [_, language, _] => Err(format!("unsupported language type: {language}")),
            _ => self.wrong_count("2 or 3"),
        }
    }

    fn line(&self, file: &str, line: &str, column: &str) -> Parsed<Address> {
        let small = |word| Ok::<u32, String>(u32::try_from(self.number(word)?).unwrap_or(u32::MAX));
        Ok(Address::Line { file: file.into(), line: small(line)?, column: small(column)? })
    }

    fn usdt(&self) -> Parsed<Probe> {
        let (file, provider, event) = match self.words {
            // Of the process of -p, all files.
            [event] if self.has_pid => ("*", None, *event),
            [file, event] => (*file, None, *event),
            [file, provider, event] => (*file, Some((*provider).into()), *event),
            _ => return self.wrong_count("2 or 3"),
        };
        if event.is_empty() {
            return Err("usdt probe must have a target function or wildcard".to_owned());
        }
        Ok(Probe::Usdt { file: file.into(), provider, event: event.into() })
    }

    fn iter(&self) -> Parsed<Probe> {
        match self.words {
            [object] => Ok(Probe::Iter { object: (*object).into(), pin: None }),
            [object, pin] => Ok(Probe::Iter { object: (*object).into(), pin: Some((*pin).into()) }),
            _ => self.wrong_count("1 or 2"),
        }
    }

    fn watchpoint(&self) -> Parsed<Probe> {
        let [address, length, mode] = self.words else { return self.wrong_count("3") };
        let (address, length) = (self.number(address)?, self.number(length)?);
        if address == 0 {
            return Err("watchpoint must be attached to a non-zero address".to_owned());
        }
        if !matches!(length, 1 | 2 | 4 | 8) {
            return Err("watchpoint length must be one of (1,2,4,8)".to_owned());
        }
        let mut letters: Vec<char> = mode.chars().collect();
        letters.sort_unstable();
        if letters.is_empty() || letters.iter().any(|letter| !"rwx".contains(*letter)) {
            return Err("watchpoint mode must be combination of (r,w,x)".to_owned());
        }
        if letters.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("watchpoint modes may not be duplicated".to_owned());
        }
        let mode: String = letters.into_iter().collect();
        if cfg!(target_arch = "x86_64") && !matches!(mode.as_str(), "w" | "x" | "rw") {
            return Err(format!("invalid watchpoint mode: {mode}"));
        }
        Ok(Probe::Watchpoint { address, length, mode: mode.into() })
    }
}
