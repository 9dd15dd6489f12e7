//! The terminal: taken over at the start, given back at every end there is.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::terminal::{
    self, BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen,
};
use crossterm::{cursor, execute};
use nix::sys::signal::{Signal, raise};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;

use super::app::App;
use super::draw;

/// A screen's worth of escape sequences goes out in one write.
const BUFFER: usize = 1 << 16;

/// The terminal is ours. In one place for all, since a panic may be any thread's.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while it is ours.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Takes the terminal over, and sees to it that a panic gives it back before it is told.
    ///
    /// # Errors
    /// What the terminal says.
    pub(super) fn take() -> Result<Self> {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            told(panic);
        }));
        enter().context("take over the terminal")?;
        let backend = CrosstermBackend::new(BufWriter::with_capacity(BUFFER, io::stdout()));
        let terminal = Terminal::new(backend).context("take over the terminal")?;
        Ok(Screen { terminal })
    }

    /// Its columns and lines.
    pub(super) fn size(&self) -> (u16, u16) {
        terminal::size().unwrap_or((0, 0))
    }

    /// Draws, unless a panic gave the terminal back.
    ///
    /// # Errors
    /// What the terminal says.
    pub(super) fn draw(&mut self, app: &App) -> Result<()> {
        if !TAKEN.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut draw = || -> io::Result<()> {
            execute!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
            self.terminal.draw(|frame| draw::draw(frame, app))?;
            execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)
        };
        draw().context("draw")
    }

    /// Draws all of it anew with the next frame.
    ///
    /// # Errors
    /// What the terminal says.
    pub(super) fn redraw(&mut self) -> Result<()> {
        let (width, height) = self.size();
        // Not clear(), which asks the terminal where its cursor is; not every one answers.
        self.terminal.resize(Rect::new(0, 0, width, height)).context("redraw")
    }

    /// Puts a text on the clipboard, if the terminal allows it.
    ///
    /// # Errors
    /// What the terminal says.
    pub(super) fn copy(&mut self, text: &str) -> Result<()> {
        let copy = CopyToClipboard::to_clipboard_from(text);
        execute!(self.terminal.backend_mut(), copy).context("copy")
    }

    /// Gives the terminal back, stops until `fg`, and takes it over again.
    ///
    /// # Errors
    /// What the terminal says.
    pub(super) fn suspend(&mut self) -> Result<()> {
        give_back();
        // Not SIGTSTP, which is caught here to get at this place.
        raise(Signal::SIGSTOP).context("stop")?;
        enter().context("take over the terminal")?;
        self.redraw()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    TAKEN.store(true, Ordering::Release);
    execute!(
        io::stdout(),
        EnterAlternateScreen,
        EnableMouseCapture,
        EnableBracketedPaste,
        cursor::Hide
    )
}

/// Once, however often it is called. A terminal that is gone can't be given back, so errors don't count.
fn give_back() {
    if !TAKEN.swap(false, Ordering::AcqRel) {
        return;
    }
    let _ = execute!(
        io::stdout(),
        EndSynchronizedUpdate,
        DisableBracketedPaste,
        DisableMouseCapture,
        LeaveAlternateScreen,
        cursor::Show
    );
    let _ = io::stdout().flush();
    let _ = terminal::disable_raw_mode();
}

/// Where keys come from: standard input, or the terminal where that is something else.
///
/// # Errors
/// Where there is no terminal.
pub(super) fn input() -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return stdin.as_fd().try_clone_to_owned();
    }
    File::open("/dev/tty").map(OwnedFd::from)
}
