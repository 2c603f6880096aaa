//! Cutting texts to size, visibly.
//!
//! Knows bytes and characters. Must not know which field it cuts.

/// Ends a text that was cut.
pub const MARK: &str = " … (cut)";

/// At most `bytes_max` bytes on a character boundary, ending with [`MARK`] where something was left out. Control characters
/// other than line breaks and tabs become spaces, so that a text cannot move a terminal's cursor.
pub fn cut(text: &str, bytes_max: usize) -> String {
    let plain = |c: char| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c };
    if text.len() <= bytes_max {
        return text.chars().map(plain).collect();
    }
    let keep = text.floor_char_boundary(bytes_max.saturating_sub(MARK.len()));
    let mut short: String = text[..keep].chars().map(plain).collect();
    short.push_str(MARK);
    short
}

/// A stranger's text as one line: line breaks and other controls become spaces, and so does what reorders or hides text in a terminal
/// or a browser (Unicode's bidirectional controls and zero-width characters; UTR #36). At most `bytes_max` bytes.
pub fn one_line(text: &str, bytes_max: usize) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c }).collect();
    cut(plain.trim(), bytes_max)
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{61c}' | '\u{feff}')
}

/// An identifier from outside: printable ASCII as it is, each other character an underscore, no more than `bytes_max` bytes.
pub fn identifier(text: &str, bytes_max: usize) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).take(bytes_max).collect()
}
