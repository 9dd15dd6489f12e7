//! `nettrace/config.toml` below XDG_CONFIG_HOME or ~/.config: what it may say, and what is wrong with one,
//! by line and key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use std::{env, fs};

use ratatui::style::Color;
use serde::{Deserialize, Deserializer, de};

use super::app::{Settings, number};
use super::keys::{Action, COMMANDS, Key};
use super::theme::{self, Theme};
use crate::filter::{Filter, nearest};
use crate::model::View;
use crate::output::{self, Units};
use crate::run::Usage;

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    theme: Option<ThemeName>,
    view: Option<Tab>,
    interval: Option<Interval>,
    units: Option<UnitsName>,
    smooth: Option<bool>,
    #[serde(default)]
    colours: Colours,
    #[serde(default)]
    keys: Bindings,
    #[serde(default)]
    columns: Columns,
    #[serde(default)]
    filters: BTreeMap<String, FilterText>,
}

/// Something that is written as a word.
#[derive(Debug)]
struct Word<T>(T);

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        word.parse().map(Word).map_err(de::Error::custom)
    }
}

macro_rules! checked {
    ($(#[$about:meta])* $name:ident($inner:ty) from $from:ty, $check:expr) => {
        $(#[$about])*
        #[derive(Debug)]
        struct $name($inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let check: fn($from) -> Result<$inner, String> = $check;
                check(<$from>::deserialize(deserializer)?).map($name).map_err(de::Error::custom)
            }
        }
    };
}

checked!(Tab(View) from String, |name| name.parse());
checked!(ThemeName(Theme) from String, |name| theme_named(&name));
checked!(Interval(Duration) from f64, |seconds| match seconds {
    0.05..=3600.0 => Ok(Duration::from_secs_f64(seconds)),
    _ => Err("write seconds from 0.05 to 3600".to_owned()),
});
checked!(UnitsName(Units) from String, |name| match name.as_str() {
    "bin-bytes" => Ok(Units::BinBytes),
    "bin-bits" => Ok(Units::BinBits),
    "si-bytes" => Ok(Units::SiBytes),
    "si-bits" => Ok(Units::SiBits),
    _ => Err(format!("no units {name}; there are bin-bytes bin-bits si-bytes si-bits")),
});
checked!(FilterText(String) from String, |text| {
    Filter::parse(&text).map(|_| text).map_err(|error| error.to_string())
});
checked!(Colour(Color) from String, |name| {
    name.parse().map_err(|_| format!("“{name}” is no colour; write cyan, 244 or #88c0d0"))
});

/// Keys of an action: one, or several.
#[derive(Debug)]
struct KeyList(Vec<Key>);

impl<'de> Deserialize<'de> for KeyList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Vec<Key>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key, or a list of keys")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(vec![text.parse().map_err(E::custom)?])
            }

            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Self::Value, A::Error> {
                let mut keys = Vec::new();
                while let Some(Word(key)) = list.next_element()? {
                    keys.push(key);
                }
                Ok(keys)
            }
        }

        deserializer.deserialize_any(Visitor).map(KeyList)
    }
}

/// A table whose keys are words of ours; each pair is checked while its place in the file is known.
macro_rules! table {
    ($(#[$about:meta])* $name:ident($key:ty => $value:ty), $find:expr, $read:expr) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        struct $name(Vec<($key, $value)>);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;

                impl<'de> de::Visitor<'de> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a table")
                    }

                    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let find: fn(&str) -> Result<$key, String> = $find;
                        let mut pairs = Vec::new();
                        while let Some(FoundKey(found)) = map.next_key_seed(Find(find))? {
                            pairs.push((found, $read(&mut map, found)?));
                        }
                        Ok($name(pairs))
                    }
                }

                deserializer.deserialize_map(Visitor)
            }
        }
    };
}

/// Reads a key as one of ours.
struct Find<K>(fn(&str) -> Result<K, String>);
struct FoundKey<K>(K);

impl<'de, K> de::DeserializeSeed<'de> for Find<K> {
    type Value = FoundKey<K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let word = String::deserialize(deserializer)?;
        (self.0)(&word).map(FoundKey).map_err(de::Error::custom)
    }
}

/// Reads the columns of a view.
struct ColumnList(View);

impl<'de> de::DeserializeSeed<'de> for ColumnList {
    type Value = Vec<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        output::select(self.0, &words).map_err(de::Error::custom)
    }
}

table!(Colours(&'static str => Colour), |word| one_of(word, theme::ROLES, "role"),
    |map: &mut A, _| map.next_value());
table!(Bindings(Action => KeyList), |word| {
    let name = one_of(word, COMMANDS.iter().map(|command| command.name), "command")?;
    let command = COMMANDS.iter().find(|command| command.name == name);
    command.map(|command| command.action).ok_or_else(|| name.to_owned())
}, |map: &mut A, _| map.next_value());
table!(Columns(View => Vec<usize>), |word| word.parse(),
    |map: &mut A, view| map.next_value_seed(ColumnList(view)));

fn one_of(
    word: &str,
    names: impl IntoIterator<Item = &'static str> + Clone,
    what: &str,
) -> Result<&'static str, String> {
    if let Some(name) = names.clone().into_iter().find(|name| *name == word) {
        return Ok(name);
    }
    Err(match nearest(word, names.clone()) {
        Some(near) => format!("no {what} {word}; did you mean {near}?"),
        None => {
            let names: Vec<&str> = names.into_iter().collect();
            format!("no {what} {word}; there are {}", names.join(" "))
        }
    })
}

/// A theme by its name.
///
/// # Errors
/// The message for the user.
pub fn theme_named(name: &str) -> Result<Theme, String> {
    let name = one_of(name, theme::NAMES, "theme")?;
    Theme::named(name).ok_or_else(|| name.to_owned())
}

/// Where the file is, if it is anywhere.
pub fn path() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(home.join("nettrace/config.toml"))
}

/// Puts what the file at `path` says into the settings; nothing if there is none.
///
/// # Errors
/// [`Usage`] with the line and key that is wrong.
pub fn apply_file(settings: &mut Settings, path: &Path) -> Result<(), Usage> {
    match fs::read_to_string(path) {
        Ok(text) => {
            apply(settings, &text).map_err(|error| Usage(format!("{}{error}", path.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Usage(format!("{}: {error}", path.display()))),
    }
}

fn apply(settings: &mut Settings, text: &str) -> Result<(), String> {
    let file: File = toml::from_str(text).map_err(|error| located(text, &error))?;
    if let Some(ThemeName(theme)) = file.theme {
        settings.theme = theme;
    }
    for (role, Colour(colour)) in file.colours.0 {
        if let Some(style) = settings.theme.role(role) {
            *style = if role == "selection" { style.bg(colour) } else { style.fg(colour) };
        }
    }
    for (action, KeyList(keys)) in file.keys.0 {
        settings.keys.bind(action, &keys);
    }
    for (view, columns) in file.columns.0 {
        settings.columns[number(view)] = Some(columns);
    }
    settings.view = file.view.map_or(settings.view, |Tab(view)| view);
    settings.interval = file.interval.map_or(settings.interval, |Interval(interval)| interval);
    settings.units = file.units.map_or(settings.units, |UnitsName(units)| units);
    settings.smooth = file.smooth.unwrap_or(settings.smooth);
    settings.filters = file.filters.into_iter().map(|(name, text)| (name, text.0)).collect();
    Ok(())
}

/// `:LINE: KEY: MESSAGE`.
fn located(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', ", ");
    let Some(span) = error.span() else {
        return format!(": {message}");
    };
    let before = &text[..span.start.min(text.len())];
    let line = before.matches('\n').count();
    let is_section = |line: &&str| line.trim_start().starts_with('[');
    let section = text.lines().take(line).filter(is_section).last();
    let section = section.map(|line| line.trim().trim_matches(['[', ']']).trim().to_owned());
    let assigned = text.lines().nth(line).and_then(|line| line.split_once('='));
    let key = assigned.map(|(key, _)| key.trim().to_owned());
    let key: Vec<String> = section.into_iter().chain(key).collect();
    let key = if key.is_empty() { String::new() } else { format!(" {}:", key.join(".")) };
    format!(":{}:{key} {message}", line + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        apply(&mut settings, text).map(|()| settings)
    }

    fn wrong(text: &str) -> String {
        applied(text).unwrap_err()
    }

    #[test]
    fn a_file_may_say_everything() {
        let settings = applied(
            r##"
            theme = "light"
            view = "conns"
            interval = 0.5
            units = "si-bits"
            smooth = true
            [colours]
            accent = "#88c0d0"
            selection = "blue"
            [keys]
            quit = "x"
            down = ["n", "ctrl-n", "down"]
            [columns]
            procs = ["comm", "rx/s"]
            [filters]
            web = "port:80,443 !comm:curl"
            "##,
        )
        .unwrap();
        assert_eq!((settings.view, settings.units), (View::Conns, Units::SiBits));
        assert_eq!((settings.interval, settings.smooth), (Duration::from_millis(500), true));
        assert_eq!(settings.theme.accent.fg, Some(Color::Rgb(0x88, 0xc0, 0xd0)));
        assert_eq!(settings.theme.muted, Theme::named("light").unwrap().muted);
        assert_eq!(settings.keys.of(Action::Down), "n Ctrl-N ↓");
        assert_eq!(settings.columns[0], Some(vec![1, 6]));
        assert_eq!(settings.filters, [("web".to_owned(), "port:80,443 !comm:curl".to_owned())]);
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_key() {
        assert_eq!(wrong("\ntheme = \"drak\""), ":2: theme: no theme drak; did you mean dark?");
        assert_eq!(
            wrong("[colours]\naccent = \"cyan\"\nmuted = \"gerst\""),
            ":3: colours.muted: “gerst” is no colour; write cyan, 244 or #88c0d0"
        );
        assert_eq!(
            wrong("[keys]\nqiut = \"x\""),
            ":2: keys.qiut: no command qiut; did you mean quit?"
        );
        assert!(wrong("[keys]\nquit = [\"xy\"]").starts_with(":2: keys.quit: “xy” is no key"));
        assert_eq!(
            wrong("view = \"procs\"\n[columns]\nprocs = [\"connection\"]"),
            ":3: columns.procs: no column connection in procs; did you mean connections?"
        );
        assert!(
            wrong("[filters]\nweb = \"port:http\"").starts_with(":2: filters.web: “http” is no")
        );
        assert!(wrong("interval = 0").starts_with(":1: interval: write seconds"));
        assert!(wrong("interval = \"1\"").starts_with(":1: interval: invalid type"));
        assert!(wrong("colour = 1").starts_with(":1: colour: unknown field `colour`"));
        assert!(wrong("x").starts_with(":1:"));
    }
}
