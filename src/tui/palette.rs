//! The list of all commands, narrowed by what is typed.

use crossterm::event::KeyEvent;

use super::app::{App, TABS};
use super::input;
use super::keys::{Action, COMMANDS};
use super::prompt::Line;
use super::theme;
use crate::model::View;

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// What a key does.
    Do(Action),
    /// Goes to a view.
    Show(View),
    /// Sorts by a column, or by weight.
    Sort(Option<usize>),
    /// Changes the theme.
    Theme(&'static str),
    /// Sets a saved filter.
    Filter(String),
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What is typed for it.
    pub name: String,
    /// What it does.
    pub about: String,
    run: Run,
}

/// Commands, what is typed, and the cursor among those that fit it.
#[derive(Debug)]
pub struct Palette {
    /// What is typed.
    pub line: Line,
    items: Vec<Item>,
    fitting: Vec<usize>,
    /// Among those that fit.
    pub cursor: usize,
}

impl Palette {
    /// All commands that there are now.
    pub fn new(app: &App) -> Self {
        let keys = &app.settings.keys;
        let item = |name: String, about: String, run| Item { name, about, run };
        let filters = app.settings.filters.iter();
        let filters = filters.map(|(name, text)| {
            item(format!("filter {name}"), text.clone(), Run::Filter(text.clone()))
        });
        let no_filter = (!app.filter_text.is_empty()).then(|| {
            item("no filter".to_owned(), "show everything".to_owned(), Run::Filter(String::new()))
        });
        let views = TABS.into_iter().enumerate().map(|(number, view)| {
            item(format!("view {view}"), (number + 1).to_string(), Run::Show(view))
        });
        let weight = item("sort".to_owned(), "the view's own order".to_owned(), Run::Sort(None));
        let sorts = input::sortable(app).map(|(column, title)| {
            item(format!("sort {title}"), String::new(), Run::Sort(Some(column)))
        });
        let themes = theme::NAMES.into_iter();
        let themes =
            themes.map(|name| item(format!("theme {name}"), String::new(), Run::Theme(name)));
        let actions = COMMANDS.iter().filter(|command| command.action != Action::Palette);
        let actions = actions.map(|command| {
            let about = format!("{}  {}", command.about, keys.of(command.action));
            item(command.name.to_owned(), about, Run::Do(command.action))
        });
        let all = filters.chain(no_filter).chain(views).chain(actions).chain([weight]);
        let items: Vec<Item> = all.chain(sorts).chain(themes).collect();
        let fitting = (0..items.len()).collect();
        Palette { line: Line::default(), items, fitting, cursor: 0 }
    }

    /// Those that fit what is typed, the best first.
    pub fn fitting(&self) -> impl ExactSizeIterator<Item = &Item> {
        self.fitting.iter().map(|index| &self.items[*index])
    }

    /// What the command under the cursor does.
    pub fn chosen(&self) -> Option<Run> {
        self.fitting.get(self.cursor).map(|index| self.items[*index].run.clone())
    }

    /// Moves the cursor.
    pub fn step(&mut self, by: isize) {
        let last = self.fitting.len().saturating_sub(1);
        self.cursor = self.cursor.saturating_add_signed(by).min(last);
    }

    /// Takes a key of the line.
    pub fn key(&mut self, key: KeyEvent) {
        self.line.key(key);
        self.narrow();
    }

    /// Takes pasted text.
    pub fn insert(&mut self, text: &str) {
        self.line.insert(text);
        self.narrow();
    }

    fn narrow(&mut self) {
        let typed = self.line.text();
        let rank = |index: usize| Some((likeness(&typed, &self.items[index].name)?, index));
        let mut ranked: Vec<(usize, usize)> = (0..self.items.len()).filter_map(rank).collect();
        ranked.sort_unstable();
        self.fitting = ranked.into_iter().map(|(_, index)| index).collect();
        self.cursor = 0;
    }
}

/// How far a name is from what is typed, whose characters it must have in this order; 0 is nearest.
fn likeness(typed: &str, name: &str) -> Option<usize> {
    const NEW_WORD: usize = 1;
    const WITHIN_WORD: usize = 10;

    let name: Vec<char> = name.to_lowercase().chars().collect();
    let mut distance = 0;
    let mut at = 0;
    for c in typed.to_lowercase().chars().filter(|c| *c != ' ') {
        let found = at + name[at..].iter().position(|other| *other == c)?;
        let begins_word = found == 0 || !name[found - 1].is_alphanumeric();
        distance += match found - at {
            0 if found > 0 || begins_word => 0,
            _ if begins_word => NEW_WORD,
            gap => WITHIN_WORD + gap,
        };
        at = found + 1;
    }
    Some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::app::Settings;

    fn first(typed: &str) -> Option<Run> {
        let app = App::new(Settings::default(), (80, 24), Vec::new());
        let mut palette = Palette::new(&app);
        palette.insert(typed);
        palette.chosen()
    }

    #[test]
    fn a_few_letters_are_enough() {
        assert_eq!(first("con"), Some(Run::Show(View::Conns)));
        assert_eq!(first("vh"), Some(Run::Show(View::Hosts)));
        assert_eq!(first("quit"), Some(Run::Do(Action::Quit)));
        assert_eq!(first("sort rx/s"), Some(Run::Sort(Some(6))));
        assert_eq!(first("mono"), Some(Run::Theme("mono")));
        assert_eq!(first("xyzzy"), None);
    }

    #[test]
    fn letters_at_the_beginning_of_words_are_nearer() {
        assert!(likeness("vc", "view conns") < likeness("vc", "avxc"));
        assert_eq!(likeness("cv", "view conns"), None);
        assert_eq!(likeness("", "anything"), Some(0));
    }
}
