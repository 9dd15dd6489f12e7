//! How things look: a style for each role. Where there is no colour, weight and inversion tell them
//! apart.

use ratatui::style::{Color, Modifier, Style};

/// A style for each role.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Theme {
    /// What is read.
    pub text: Style,
    /// What stands beside it: rules, labels, zeros.
    pub muted: Style,
    /// What is chosen, and keys.
    pub accent: Style,
    /// Headers of tables, titles.
    pub title: Style,
    /// Received.
    pub rx: Style,
    /// Sent.
    pub tx: Style,
    /// What is worth a look: losses, retransmits, pause.
    pub warning: Style,
    /// What went wrong.
    pub error: Style,
    /// The row under the cursor.
    pub selection: Style,
}

/// The names of the themes.
pub const NAMES: [&str; 4] = ["dark", "light", "contrast", "mono"];

impl Theme {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "dark" => Some(Theme::coloured(Color::Indexed(244), Color::Indexed(237))),
            "light" => Some(Theme {
                accent: bold(Color::Indexed(25)),
                rx: plain(Color::Indexed(25)),
                tx: plain(Color::Indexed(28)),
                warning: bold(Color::Indexed(130)),
                ..Theme::coloured(Color::Indexed(242), Color::Indexed(253))
            }),
            "contrast" => Some(Theme {
                muted: Style::new(),
                selection: Style::new().add_modifier(Modifier::REVERSED),
                ..Theme::coloured(Color::Reset, Color::Reset)
            }),
            "mono" => Some(Theme::mono()),
            _ => None,
        }
    }

    /// What suits the terminal, as far as it tells.
    pub fn fitting(colour: bool, background: Option<&str>) -> Self {
        if !colour {
            return Theme::mono();
        }
        // COLORFGBG is “foreground;background”; 7 and from 9 up are light.
        let number = background.and_then(|text| text.rsplit(';').next()?.parse::<u8>().ok());
        let is_light = number.is_some_and(|number| number == 7 || number > 8);
        let name = if is_light { "light" } else { "dark" };
        Theme::named(name).unwrap_or_else(Theme::mono)
    }

    /// No colour at all.
    pub fn mono() -> Self {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        Theme {
            text: Style::new(),
            muted: Style::new().add_modifier(Modifier::DIM),
            accent: bold,
            title: bold,
            rx: Style::new(),
            tx: Style::new(),
            warning: bold,
            error: bold,
            selection: Style::new().add_modifier(Modifier::REVERSED),
        }
    }

    fn coloured(muted: Color, selected: Color) -> Self {
        Theme {
            text: Style::new(),
            muted: plain(muted),
            accent: bold(Color::Cyan),
            title: Style::new().add_modifier(Modifier::BOLD),
            rx: plain(Color::Cyan),
            tx: plain(Color::Green),
            warning: bold(Color::Yellow),
            error: bold(Color::Red),
            selection: Style::new().bg(selected).add_modifier(Modifier::BOLD),
        }
    }

    /// The style of a role, by its name in the configuration.
    pub fn role(&mut self, name: &str) -> Option<&mut Style> {
        Some(match name {
            "text" => &mut self.text,
            "muted" => &mut self.muted,
            "accent" => &mut self.accent,
            "title" => &mut self.title,
            "rx" => &mut self.rx,
            "tx" => &mut self.tx,
            "warning" => &mut self.warning,
            "error" => &mut self.error,
            "selection" => &mut self.selection,
            _ => return None,
        })
    }
}

/// The names of the roles.
pub const ROLES: [&str; 9] =
    ["text", "muted", "accent", "title", "rx", "tx", "warning", "error", "selection"];

fn plain(colour: Color) -> Style {
    Style::new().fg(colour)
}

fn bold(colour: Color) -> Style {
    Style::new().fg(colour).add_modifier(Modifier::BOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_theme_and_every_role_a_style() {
        for name in NAMES {
            let mut theme = Theme::named(name).unwrap();
            assert!(ROLES.iter().all(|role| theme.role(role).is_some()), "{name}");
        }
        assert!(Theme::named("pink").is_none());
    }

    #[test]
    fn the_terminal_s_background_is_heeded() {
        let of = |name| Theme::named(name).unwrap();
        assert_eq!(Theme::fitting(true, None), of("dark"));
        assert_eq!(Theme::fitting(true, Some("15;0")), of("dark"));
        assert_eq!(Theme::fitting(true, Some("0;default;15")), of("light"));
        assert_eq!(Theme::fitting(false, Some("0;15")), of("mono"));
    }
}
