//! The settings of a program, by the names and with the values that bpftrace knows: from its config block, and from
//! the environment (`BPFTRACE_MAX_STRLEN`), which wins.

use super::ast::SettingValue;
use super::lexer;
use super::types::StackMode;

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Of which processes symbols are kept.
    pub cache_user_symbols: Option<SymbolCache>,
    /// Names of C++ are shown as they were written.
    pub cpp_demangle: bool,
    /// Symbols of processes are looked up when they are printed, not before.
    pub lazy_symbolication: bool,
    /// What the kernel takes the programs' license for.
    pub license: String,
    /// Bytes of the verifier's log.
    pub log_size: u64,
    /// How many programs there may be.
    pub max_bpf_progs: u64,
    /// Bytes of a file that `cat` writes.
    pub max_cat_bytes: u64,
    /// Entries of a map that isn't declared.
    pub max_map_keys: u64,
    /// How many places may be attached to.
    pub max_probes: u64,
    /// Bytes of a string, with its NUL.
    pub max_strlen: u64,
    /// What to do about probes that aren't there.
    pub missing_probes: MissingProbes,
    /// Values larger than so many bytes aren't on the stack.
    pub on_stack_limit: u64,
    /// Pages of the ring; 0 for as many as the memory allows.
    pub perf_rb_pages: u64,
    /// Maps are printed at the end.
    pub print_maps_on_exit: bool,
    /// Stacks have files and lines.
    pub show_debug_info: bool,
    /// How stacks are written.
    pub stack_mode: StackMode,
    /// What is written behind a string that was cut.
    pub str_trunc_trailer: String,
    /// Whether statements may import.
    pub unstable_import_statement: Unstable,
    /// Whether there is `tseries`.
    pub unstable_tseries: Unstable,
    /// Whether there is `typeinfo`.
    pub unstable_typeinfo: Unstable,
    /// Whether there is `dw_ustack`.
    pub unstable_dw_ustack: Unstable,
}

/// Of which processes symbols are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolCache {
    /// Of each process by itself.
    PerPid,
    /// Of each program's file.
    PerProgram,
    /// Of none.
    None,
}

/// What to do about probes that aren't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingProbes {
    /// Nothing.
    Ignore,
    /// Say so.
    Warn,
    /// End.
    Error,
}

/// What to do about a feature that may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstable {
    /// It is used.
    Enable,
    /// It is used, and said so.
    Warn,
    /// It is refused.
    Error,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            cache_user_symbols: None,
            cpp_demangle: true,
            lazy_symbolication: true,
            license: "GPL".to_owned(),
            log_size: 1_000_000,
            max_bpf_progs: 1024,
            max_cat_bytes: 10_240,
            max_map_keys: 4096,
            max_probes: 1024,
            max_strlen: 1024,
            missing_probes: MissingProbes::Error,
            on_stack_limit: 32,
            perf_rb_pages: 0,
            print_maps_on_exit: true,
            show_debug_info: true,
            stack_mode: StackMode::Bpftrace,
            str_trunc_trailer: "..".to_owned(),
            unstable_import_statement: Unstable::Error,
            unstable_tseries: Unstable::Warn,
            unstable_typeinfo: Unstable::Error,
            unstable_dw_ustack: Unstable::Warn,
        }
    }
}

/// Names of the settings.
pub const NAMES: &[&str] = &[
    "cache_user_symbols",
    "cpp_demangle",
    "lazy_symbolication",
    "license",
    "log_size",
    "max_bpf_progs",
    "max_cat_bytes",
    "max_map_keys",
    "max_probes",
    "max_strlen",
    "missing_probes",
    "on_stack_limit",
    "perf_rb_pages",
    "print_maps_on_exit",
    "show_debug_info",
    "stack_mode",
    "str_trunc_trailer",
    "unstable_import_statement",
    "unstable_tseries",
    "unstable_typeinfo",
    "unstable_dw_ustack",
];

/// Settings that bpftrace had once, and takes without doing anything.
const FORMER: &[&str] = &[
    "symbol_source",
    "max_type_res_iterations",
    "unstable_addr",
    "unstable_import",
    "unstable_macro",
    "unstable_map_decl",
    "use_blazesym",
];

/// Licenses that the kernel takes as its own.
const LICENSES: &[&str] =
    &["Dual MIT/GPL", "Dual BSD/GPL", "Dual MPL/GPL", "GPL and additional rights", "GPL v2", "GPL"];

/// How a setting was taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// As it was meant.
    Set,
    /// It does nothing any more.
    Former,
}

/// Why a setting wasn't taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// There is none of that name.
    #[error("{0}: not a known configuration option")]
    Unknown(String),
    /// It can't be set to that.
    #[error("{why}")]
    Value {
        /// Of which.
        name: String,
        /// What it can be set to.
        why: String,
    },
}

impl Config {
    /// What one is set to, if it can be asked for.
    pub fn get(&self, name: &str) -> Option<SettingValue> {
        Some(match name {
            "cpp_demangle" => SettingValue::Bool(self.cpp_demangle),
            "lazy_symbolication" => SettingValue::Bool(self.lazy_symbolication),
            "print_maps_on_exit" => SettingValue::Bool(self.print_maps_on_exit),
            "show_debug_info" => SettingValue::Bool(self.show_debug_info),
            "log_size" => SettingValue::Int(self.log_size),
            "max_bpf_progs" => SettingValue::Int(self.max_bpf_progs),
            "max_cat_bytes" => SettingValue::Int(self.max_cat_bytes),
            "max_map_keys" => SettingValue::Int(self.max_map_keys),
            "max_probes" => SettingValue::Int(self.max_probes),
            "max_strlen" => SettingValue::Int(self.max_strlen),
            "on_stack_limit" => SettingValue::Int(self.on_stack_limit),
            "perf_rb_pages" => SettingValue::Int(self.perf_rb_pages),
            "str_trunc_trailer" => SettingValue::Text(self.str_trunc_trailer.clone()),
            "license" => SettingValue::Text(self.license.clone()),
            "stack_mode" => SettingValue::Text(self.stack_mode.name().to_owned()),
            _ => return None,
        })
    }

    /// Sets one by its name, in lower case and without `BPFTRACE_`, or as the environment has it.
    pub fn set(&mut self, name: &str, value: &SettingValue) -> Result<Taken, NotTaken> {
        let key = name.to_ascii_lowercase();
        let key = key.strip_prefix("bpftrace_").unwrap_or(&key);
        if FORMER.contains(&key) {
            return Ok(Taken::Former);
        }
        let refused = |why: String| {
            let why = if key == "license" { why } else { format!("{name}: {why}") };
            NotTaken::Value { name: key.to_owned(), why }
        };
        let is_set = match key {
            "cpp_demangle" => boolean(value).map(|new| self.cpp_demangle = new),
            "lazy_symbolication" => boolean(value).map(|new| self.lazy_symbolication = new),
            "print_maps_on_exit" => boolean(value).map(|new| self.print_maps_on_exit = new),
            "show_debug_info" => boolean(value).map(|new| self.show_debug_info = new),
            "log_size" => number(value).map(|new| self.log_size = new),
            "max_bpf_progs" => number(value).map(|new| self.max_bpf_progs = new),
            "max_cat_bytes" => number(value).map(|new| self.max_cat_bytes = new),
            "max_map_keys" => number(value).map(|new| self.max_map_keys = new),
            "max_probes" => number(value).map(|new| self.max_probes = new),
            "max_strlen" => number(value).map(|new| self.max_strlen = new),
            "on_stack_limit" => number(value).map(|new| self.on_stack_limit = new),
            "perf_rb_pages" => number(value).map(|new| self.perf_rb_pages = new),
            "str_trunc_trailer" => {
                self.str_trunc_trailer = text(value);
                Ok(())
            }
            "license" => license(value).map(|new| self.license = new),
            "stack_mode" => stack_mode(value).map(|new| self.stack_mode = new),
            "missing_probes" => missing_probes(value).map(|new| self.missing_probes = new),
            "cache_user_symbols" => symbol_cache(value).map(|new| self.cache_user_symbols = new),
            "unstable_import_statement" => {
                unstable(key, value).map(|new| self.unstable_import_statement = new)
            }
            "unstable_tseries" => unstable(key, value).map(|new| self.unstable_tseries = new),
            "unstable_typeinfo" => unstable(key, value).map(|new| self.unstable_typeinfo = new),
            "unstable_dw_ustack" => unstable(key, value).map(|new| self.unstable_dw_ustack = new),
            _ => return Err(NotTaken::Unknown(key.to_owned())),
        };
        is_set.map(|()| Taken::Set).map_err(refused)
    }
}

fn text(value: &SettingValue) -> String {
    match value {
        SettingValue::Int(number) => number.to_string(),
        SettingValue::Bool(value) => value.to_string(),
        SettingValue::Text(text) => text.clone(),
    }
}

fn number(value: &SettingValue) -> Result<u64, String> {
    match value {
        SettingValue::Int(number) => Ok(*number),
        other => {
            let text = text(other);
            lexer::int(&text).map_err(|_| format!("expecting a number, got {text}"))
        }
    }
}

fn boolean(value: &SettingValue) -> Result<bool, String> {
    match value {
        SettingValue::Int(number) => Ok(*number != 0),
        SettingValue::Bool(value) => Ok(*value),
        SettingValue::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("Invalid bool value: valid values are true, false, 1 or 0.".to_owned()),
        },
    }
}

fn license(value: &SettingValue) -> Result<String, String> {
    let text = text(value);
    if LICENSES.contains(&text.as_str()) {
        return Ok(text);
    }
    let valid = LICENSES.join(", ");
    Err(format!("Invalid value for license. Found: {text}. Valid values: {valid}."))
}

fn stack_mode(value: &SettingValue) -> Result<StackMode, String> {
    StackMode::named(&text(value)).ok_or_else(|| {
        "Invalid value for stack_mode: valid values are bpftrace, raw, perf, and build_id."
            .to_owned()
    })
}

fn missing_probes(value: &SettingValue) -> Result<MissingProbes, String> {
    match text(value).to_ascii_lowercase().as_str() {
        "ignore" => Ok(MissingProbes::Ignore),
        "warn" => Ok(MissingProbes::Warn),
        "error" => Ok(MissingProbes::Error),
        _ => {
            let why = "Invalid value for missing_probes: valid values are ignore, warn, and error.";
            Err(why.to_owned())
        }
    }
}

fn symbol_cache(value: &SettingValue) -> Result<Option<SymbolCache>, String> {
    match text(value).to_ascii_lowercase().as_str() {
        "1" => Ok(None),
        "0" | "none" => Ok(Some(SymbolCache::None)),
        "per_pid" => Ok(Some(SymbolCache::PerPid)),
        "per_program" => Ok(Some(SymbolCache::PerProgram)),
        _ => {
            Err("Invalid value for cache_user_symbols: valid values are PER_PID, PER_PROGRAM, and \
                  NONE."
                .to_owned())
        }
    }
}

fn unstable(key: &str, value: &SettingValue) -> Result<Unstable, String> {
    match text(value).to_ascii_lowercase().as_str() {
        "enable" | "true" | "1" => Ok(Unstable::Enable),
        "warn" => Ok(Unstable::Warn),
        "error" | "false" | "0" => Ok(Unstable::Error),
        _ => Err(format!("Invalid value for {key}: valid values are enable, warn, and error.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> SettingValue {
        SettingValue::Text(text.to_owned())
    }

    #[test]
    fn settings_are_taken_by_either_name() {
        let mut config = Config::default();
        for name in ["max_strlen", "MAX_STRLEN", "BPFTRACE_MAX_STRLEN"] {
            config.max_strlen = 0;
            assert_eq!(config.set(name, &text("64")), Ok(Taken::Set));
            assert_eq!(config.max_strlen, 64);
        }
        assert_eq!(config.set("unstable_macro", &text("enable")), Ok(Taken::Former));
        assert_eq!(config.set("stack_mode", &text("raw")), Ok(Taken::Set));
        assert_eq!(config.stack_mode, StackMode::Raw);
        let error = config.set("max_map_keys", &text("many")).unwrap_err();
        assert_eq!(error.to_string(), "max_map_keys: expecting a number, got many");
        assert_eq!(config.set("max_map_keys", &text("0x1_000")), Ok(Taken::Set));
        assert_eq!(config.max_map_keys, 4096);
        assert_eq!(
            config.set("nope", &SettingValue::Int(1)),
            Err(NotTaken::Unknown("nope".into()))
        );
    }

    #[test]
    fn every_name_can_be_set() {
        for name in NAMES {
            let known = Config::default().set(name, &text("?"));
            assert!(!matches!(known, Err(NotTaken::Unknown(_)) | Ok(Taken::Former)), "{name}");
        }
    }
}
