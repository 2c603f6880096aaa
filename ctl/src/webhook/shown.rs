//! Text that came from outside, for a terminal: one line of bounded length without control characters, which could move the
//! cursor or write over what stands above. Knows nothing of where it comes from.

use crate::http::{self, Url};
use crate::table;

/// What others say is shown this far. Git hosts' error messages and the receiver's answers are shorter.
const CHARS_MAX: usize = 300;

pub(crate) fn line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    table::cut(plain.trim(), CHARS_MAX)
}

/// An address without what could be a credential in it: user, password, query.
pub(crate) fn address(text: &str) -> String {
    match text.parse::<Url>() {
        Ok(mut url) => {
            url.set_query(None);
            url.set_fragment(None);
            line(&http::shown(&url))
        }
        Err(_) => "an address that cannot be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor_and_nothing_secret_stays_in_an_address() {
        assert_eq!(line("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(address("https://u:p@chat.example/x?token=t#f"), "https://chat.example/x");
        assert!(line(&"x".repeat(1000)).chars().count() <= CHARS_MAX);
    }
}
