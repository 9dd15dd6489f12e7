//! What can be done in the dashboard, each thing once: its name in the palette and the configuration,
//! what the help says of it, and its keys.

use std::fmt;
use std::str::FromStr;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The view to the right.
    NextView,
    /// The view to the left.
    PreviousView,
    /// A row down.
    Down,
    /// A row up.
    Up,
    /// To the first row, and to stay there.
    Top,
    /// To the last row.
    Bottom,
    /// A page down.
    PageDown,
    /// A page up.
    PageUp,
    /// To the pane on the left.
    Left,
    /// To the pane on the right.
    Right,
    /// Down into what the row tells of.
    Open,
    /// Back up.
    Back,
    /// Sort by the next column.
    NextSort,
    /// Sort the other way round.
    Reverse,
    /// Type a filter.
    Filter,
    /// Hold the picture, or go on.
    Pause,
    /// A longer interval.
    Slower,
    /// A shorter interval.
    Faster,
    /// Show closed connections too, or not.
    Closed,
    /// Average rates, or not.
    Smooth,
    /// Choose among all commands.
    Palette,
    /// Copy the row.
    Copy,
    /// Explain the keys and columns.
    Help,
    /// Explain what was lost.
    Losses,
    /// Draw everything anew.
    Redraw,
    /// To the shell, until `fg`.
    Suspend,
    /// End.
    Quit,
}

/// What is said of an action, and its keys unless the configuration has others.
#[derive(Debug)]
pub struct Command {
    /// What it does.
    pub action: Action,
    /// Its name in the palette and the configuration.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    keys: &'static [&'static str],
}

const fn command(
    action: Action,
    name: &'static str,
    keys: &'static [&'static str],
    about: &'static str,
) -> Command {
    Command { action, name, about, keys }
}

/// All of them, in the order of the help.
pub static COMMANDS: [Command; 27] = [
    command(Action::NextView, "next-view", &["tab"], "next view; 1–9 go to one"),
    command(Action::PreviousView, "previous-view", &["shift-tab"], "previous view"),
    command(Action::Down, "down", &["j", "down"], "down"),
    command(Action::Up, "up", &["k", "up"], "up"),
    command(Action::Top, "top", &["g", "home"], "first row, and stay at the top"),
    command(Action::Bottom, "bottom", &["G", "end"], "last row"),
    command(Action::PageDown, "page-down", &["pgdn", "ctrl-f"], "page down"),
    command(Action::PageUp, "page-up", &["pgup", "ctrl-b"], "page up"),
    command(Action::Left, "left", &["h", "left"], "pane on the left"),
    command(Action::Right, "right", &["l", "right"], "pane on the right"),
    command(Action::Open, "open", &["enter"], "look into the row"),
    command(
        Action::Back,
        "back",
        &["esc", "backspace"],
        "back; with nothing open, no filter any more",
    ),
    command(Action::NextSort, "sort", &["s"], "sort by the next column"),
    command(Action::Reverse, "reverse", &["S"], "sort the other way round"),
    command(Action::Filter, "filter", &["/"], "filter"),
    command(Action::Pause, "pause", &["space"], "pause"),
    command(Action::Slower, "longer-interval", &["+", "="], "longer interval"),
    command(Action::Faster, "shorter-interval", &["-"], "shorter interval"),
    command(Action::Closed, "closed", &["c"], "closed connections too"),
    command(Action::Smooth, "smooth", &["a"], "average rates over some seconds, or not"),
    command(Action::Palette, "commands", &[":"], "all commands"),
    command(Action::Copy, "copy", &["y"], "copy the row"),
    command(Action::Help, "help", &["?"], "help for this view"),
    command(Action::Losses, "losses", &["L"], "what was lost, and what helps"),
    command(Action::Redraw, "redraw", &["ctrl-l"], "redraw"),
    command(Action::Suspend, "suspend", &["ctrl-z"], "to the shell, back by fg"),
    command(Action::Quit, "quit", &["q", "ctrl-c"], "quit"),
];

/// A key and what is held down with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    ctrl: bool,
}

const NAMED: [(&str, KeyCode); 14] = [
    ("tab", KeyCode::Tab),
    ("shift-tab", KeyCode::BackTab),
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("backspace", KeyCode::Backspace),
    ("space", KeyCode::Char(' ')),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("pgup", KeyCode::PageUp),
    ("pgdn", KeyCode::PageDown),
];

impl Key {
    /// The key of an event.
    pub fn of(event: KeyEvent) -> Self {
        Key { code: event.code, ctrl: event.modifiers.contains(KeyModifiers::CONTROL) }
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("“{text}” is no key; write a character, ctrl-x, f5, or {}", names());
        if let Some((_, code)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(Key { code: *code, ctrl: false });
        }
        if let Some(number) = text.strip_prefix('f').and_then(|n| n.parse::<u8>().ok()) {
            return Ok(Key { code: KeyCode::F(number), ctrl: false });
        }
        let (ctrl, rest) = text.strip_prefix("ctrl-").map_or((false, text), |rest| (true, rest));
        let mut characters = rest.chars();
        match (characters.next(), characters.next()) {
            (Some(c), None) if !c.is_control() => Ok(Key { code: KeyCode::Char(c), ctrl }),
            _ => Err(wrong()),
        }
    }
}

fn names() -> String {
    NAMED.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("Ctrl-")?;
        }
        match self.code {
            KeyCode::Char(' ') => f.write_str("Space"),
            KeyCode::Char(c) if self.ctrl => write!(f, "{}", c.to_uppercase()),
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::Up => f.write_str("↑"),
            KeyCode::Down => f.write_str("↓"),
            KeyCode::Left => f.write_str("←"),
            KeyCode::Right => f.write_str("→"),
            KeyCode::PageUp => f.write_str("PgUp"),
            KeyCode::PageDown => f.write_str("PgDn"),
            KeyCode::BackTab => f.write_str("Shift-Tab"),
            code => write!(f, "{code:?}"),
        }
    }
}

/// Which key does what.
#[derive(Clone, Debug)]
pub struct Keys(Vec<(Key, Action)>);

impl Default for Keys {
    fn default() -> Self {
        let of = |command: &Command| {
            let action = command.action;
            let keys = command.keys.iter().filter_map(|key| key.parse().ok());
            keys.map(|key| (key, action)).collect::<Vec<_>>()
        };
        Keys(COMMANDS.iter().flat_map(of).collect())
    }
}

impl Keys {
    /// What an event asks for. Ctrl-C quits, whatever the configuration says.
    pub fn action(&self, event: KeyEvent) -> Option<Action> {
        let key = Key::of(event);
        if key == (Key { code: KeyCode::Char('c'), ctrl: true }) {
            return Some(Action::Quit);
        }
        self.0.iter().find(|(known, _)| *known == key).map(|(_, action)| *action)
    }

    /// Gives an action these keys in place of those it has, and takes them from others.
    pub fn bind(&mut self, action: Action, keys: &[Key]) {
        self.0.retain(|(key, of)| *of != action && !keys.contains(key));
        self.0.extend(keys.iter().map(|key| (*key, action)));
    }

    /// The key of an action that a hint names; empty if it has none.
    pub fn first_of(&self, action: Action) -> String {
        let first = self.0.iter().find(|(_, of)| *of == action);
        first.map_or_else(String::new, |(key, _)| key.to_string())
    }

    /// The keys of an action as the help shows them.
    pub fn of(&self, action: Action) -> String {
        let keys = self.0.iter().filter(|(_, of)| *of == action);
        keys.map(|(key, _)| key.to_string()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(keys: &Keys, text: &str) -> Option<Action> {
        let key: Key = text.parse().unwrap();
        let held = if key.ctrl { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
        keys.action(KeyEvent::new(key.code, held))
    }

    #[test]
    fn every_key_is_understood_and_does_one_thing() {
        let keys = Keys::default();
        let all: usize = COMMANDS.iter().map(|command| command.keys.len()).sum();
        assert_eq!(keys.0.len(), all);
        for (key, action) in &keys.0 {
            let held = if key.ctrl { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
            assert_eq!(keys.action(KeyEvent::new(key.code, held)), Some(*action), "{key}");
        }
    }

    #[test]
    fn keys_are_bound_anew() {
        let mut keys = Keys::default();
        keys.bind(Action::Quit, &["x".parse().unwrap(), "s".parse().unwrap()]);
        assert_eq!(press(&keys, "x"), Some(Action::Quit));
        assert_eq!(press(&keys, "s"), Some(Action::Quit));
        assert_eq!(press(&keys, "q"), None);
        assert_eq!(press(&keys, "ctrl-c"), Some(Action::Quit));
        assert_eq!(keys.of(Action::NextSort), "");
        assert_eq!(keys.of(Action::Down), "j ↓");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for wrong in ["", "xy", "ctrl-", "ctrl-xy", "fx", "\u{1b}"] {
            assert!(wrong.parse::<Key>().is_err(), "{wrong}");
        }
    }
}
