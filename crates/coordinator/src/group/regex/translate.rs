//! Reads a pattern by RE2/J's rules and writes it in the dialect of the `regex` crate.
//!
//! One pass, no tree: what must be known of the text before the cursor is what a repetition would repeat,
//! and which groups are open. Every literal is written as itself if it is a letter or a digit and as
//! `\x{..}` otherwise, so nothing that RE2 takes for a plain character can mean something in Rust.
//!
//! Only what the match decides is kept: capture groups become plain groups, names are checked and dropped,
//! and so is greediness, because a whole name is matched or it is not.

use std::collections::BTreeSet;
use std::fmt::Write;

use thiserror::Error;

/// RE2's bound for a repetition count. Nested ones multiply; what they make is bounded by its size, see `compile`.
const REPEAT_MAX: u32 = 1_000;
/// Deeper nesting is refused before the engine is asked, whose own bound is about the same.
const DEPTH_MAX: usize = 200;

/// A class that no character is in.
const NOTHING: &str = r"[^\x00-\x{10FFFF}]";

/// What is wrong with a pattern, in RE2/J's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("missing closing ]")]
    MissingBracket,
    #[error("missing closing )")]
    MissingParen,
    #[error("regexp/syntax: internal error")]
    UnexpectedParen,
    #[error("invalid character class range")]
    ClassRange,
    #[error("invalid escape sequence")]
    Escape,
    #[error("trailing backslash at end of expression")]
    TrailingBackslash,
    #[error("invalid or unsupported Perl syntax")]
    Perl,
    #[error("invalid named capture")]
    NamedCapture,
    #[error("duplicate capture group name")]
    DuplicateName,
    #[error("missing argument to repetition operator")]
    NothingToRepeat,
    #[error("invalid nested repetition operator")]
    NestedRepeat,
    #[error("invalid repeat count")]
    RepeatSize,
    #[error("expression is too large")]
    TooLarge,
}

/// What stands before the cursor, as far as a repetition is concerned.
#[derive(Clone, Copy)]
enum Last {
    Nothing,
    Item,
    Repeated,
}

pub(super) fn translate(pattern: &str) -> Result<String, Fault> {
    let mut translator = Translator {
        rest: pattern,
        out: String::with_capacity(pattern.len() + 16),
        flags: String::new(),
        last: Last::Nothing,
        depth: 0,
        names: BTreeSet::new(),
    };
    translator.run()?;
    Ok(translator.out)
}

struct Translator<'a> {
    rest: &'a str,
    out: String,
    /// `(?i)` and its like, held back until the next item: RE2 lets a repetition behind it reach over it.
    flags: String,
    last: Last,
    /// How many groups are open.
    depth: usize,
    names: BTreeSet<&'a str>,
}

impl<'a> Translator<'a> {
    fn run(&mut self) -> Result<(), Fault> {
        while let Some(next) = self.peek() {
            match next {
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => self.alternate(),
                '[' => self.class()?,
                '\\' => self.escape()?,
                '*' | '+' | '?' => self.repeat(next)?,
                '{' => self.count()?,
                '^' | '$' | '.' => {
                    self.advance(1);
                    self.item(|out| out.push(next));
                }
                _ => {
                    self.advance(next.len_utf8());
                    self.literal(next);
                }
            }
        }
        if self.depth == 0 { Ok(()) } else { Err(Fault::MissingParen) }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.advance(next.len_utf8());
        Some(next)
    }

    fn take_if(&mut self, text: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(text) else { return false };
        self.rest = rest;
        true
    }

    /// Something that can be repeated.
    fn item(&mut self, write: impl FnOnce(&mut String)) {
        self.flush_flags();
        write(&mut self.out);
        self.last = Last::Item;
    }

    fn literal(&mut self, c: char) {
        self.item(|out| push_literal(out, c));
    }

    fn flush_flags(&mut self) {
        self.out.push_str(&std::mem::take(&mut self.flags));
    }

    fn alternate(&mut self) {
        self.advance(1);
        self.flush_flags();
        self.out.push('|');
        self.last = Last::Nothing;
    }

    fn open(&mut self) -> Result<(), Fault> {
        if self.rest.starts_with("(?") {
            return self.open_perl();
        }
        self.advance(1);
        self.open_group("(?:")
    }

    fn open_group(&mut self, text: &str) -> Result<(), Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::TooLarge);
        }
        self.flush_flags();
        self.out.push_str(text);
        self.depth += 1;
        self.last = Last::Nothing;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        self.depth = self.depth.checked_sub(1).ok_or(Fault::UnexpectedParen)?;
        self.advance(1);
        self.flags.clear(); // they would end here
        self.out.push(')');
        self.last = Last::Item;
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?i)`, `(?i:`, `(?i-s)`, ..
    fn open_perl(&mut self) -> Result<(), Fault> {
        if let Some(after) = self.rest.strip_prefix("(?P<").or_else(|| self.rest.strip_prefix("(?<")) {
            let (name, rest) = after.split_once('>').ok_or(Fault::NamedCapture)?;
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_word) {
                return Err(Fault::NamedCapture);
            }
            if !self.names.insert(name) {
                return Err(Fault::DuplicateName);
            }
            self.rest = rest;
            return self.open_group("(?:");
        }
        self.advance(2);
        self.open_flags()
    }

    fn open_flags(&mut self) -> Result<(), Fault> {
        let mut flags = String::from("(?");
        let mut negated = false;
        let mut any = false; // since the minus
        loop {
            match self.take().ok_or(Fault::Perl)? {
                flag @ ('i' | 'm' | 's' | 'U') => {
                    any = true;
                    // Rust refuses a flag that is named twice; the later one decides, as in RE2.
                    if !flags.contains(flag) {
                        flags.push(flag);
                    } else if negated && flags.split('-').next().is_some_and(|set| set.contains(flag)) {
                        flags = flags.replacen(flag, "", 1);
                        flags.push(flag);
                    }
                }
                '-' if !negated => {
                    negated = true;
                    any = false;
                    flags.push('-');
                }
                end @ (':' | ')') if !negated || any => return self.end_flags(flags, end),
                _ => return Err(Fault::Perl),
            }
        }
    }

    fn end_flags(&mut self, mut flags: String, end: char) -> Result<(), Fault> {
        if end == ':' {
            flags.push(':');
            return self.open_group(&flags);
        }
        if flags.len() > "(?".len() {
            flags.push(')');
            self.flags.push_str(&flags);
        }
        if matches!(self.last, Last::Repeated) {
            self.last = Last::Item;
        }
        Ok(())
    }

    fn repeat(&mut self, operator: char) -> Result<(), Fault> {
        self.advance(1);
        self.repeated(|out| out.push(operator))
    }

    /// `{2}`, `{2,}`, `{2,3}`; anything else makes the brace a plain character.
    fn count(&mut self) -> Result<(), Fault> {
        let Some((count, rest)) = read_count(&self.rest[1..]) else {
            self.advance(1);
            self.literal('{');
            return Ok(());
        };
        let (min, max) = count;
        let is_small = min <= REPEAT_MAX && max.is_none_or(|max| min <= max && max <= REPEAT_MAX);
        if !is_small {
            return Err(Fault::RepeatSize);
        }
        self.rest = rest;
        self.repeated(|out| {
            let written = match max {
                None => write!(out, "{{{min},}}"),
                Some(max) => write!(out, "{{{min},{max}}}"),
            };
            debug_assert!(written.is_ok(), "writing to a string");
        })
    }

    fn repeated(&mut self, write: impl FnOnce(&mut String)) -> Result<(), Fault> {
        match self.last {
            Last::Nothing => return Err(Fault::NothingToRepeat),
            Last::Repeated => return Err(Fault::NestedRepeat),
            Last::Item => self.last = Last::Repeated,
        }
        self.take_if("?"); // reluctant or not: the whole name must match
        write(&mut self.out);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.advance(1);
        match self.peek().ok_or(Fault::TrailingBackslash)? {
            c @ ('A' | 'B' | 'z') => {
                self.advance(1);
                self.item(|out| out.extend(['\\', c]));
            }
            'b' => {
                self.advance(1);
                self.item(|out| out.push_str(r"(?-u:\b)"));
            }
            c @ ('d' | 'D' | 's' | 'S' | 'w' | 'W') => {
                self.advance(1);
                self.item(|out| out.extend(perl_class(c)));
            }
            'Q' => {
                self.advance(1);
                self.quoted();
            }
            'p' | 'P' => {
                let class = self.unicode_class()?;
                self.item(|out| out.push_str(&class));
            }
            _ => {
                let c = self.escaped_char()?;
                self.literal(c);
            }
        }
        Ok(())
    }

    /// `\Q..\E`, or to the end of the pattern.
    fn quoted(&mut self) {
        let (text, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
        self.rest = rest;
        for c in text.chars() {
            self.literal(c);
        }
    }

    /// After a backslash: the one character that is meant.
    fn escaped_char(&mut self) -> Result<char, Fault> {
        match self.take().ok_or(Fault::TrailingBackslash)? {
            // A single digit from 1 to 7 would be a backreference.
            '1'..='7' if !matches!(self.peek(), Some('0'..='7')) => Err(Fault::Escape),
            c @ '0'..='7' => Ok(self.octal(c)),
            'x' => self.hexadecimal(),
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0b'),
            c if !c.is_ascii_alphanumeric() => Ok(c),
            _ => Err(Fault::Escape),
        }
    }

    /// Up to three digits, the first of which is taken.
    fn octal(&mut self, first: char) -> char {
        let mut value = first as u8 - b'0';
        for _ in 0..2 {
            let Some(digit @ '0'..='7') = self.peek() else { break };
            self.advance(1);
            value = value.wrapping_mul(8).wrapping_add(digit as u8 - b'0');
        }
        char::from(value)
    }

    /// `\x41` or `\x{41}`.
    fn hexadecimal(&mut self) -> Result<char, Fault> {
        let digits = if self.take_if("{") {
            let (digits, rest) = self.rest.split_once('}').ok_or(Fault::Escape)?;
            self.rest = rest;
            digits
        } else {
            let (digits, rest) = self.rest.split_at_checked(2).ok_or(Fault::Escape)?;
            self.rest = rest;
            digits
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Fault::Escape);
        }
        match u32::from_str_radix(digits, 16) {
            // Half of a surrogate pair is in no text of ours; neither is this.
            Ok(0xd800..=0xdfff) => Ok('\u{ffff}'),
            Ok(code) => char::from_u32(code).ok_or(Fault::Escape),
            Err(_) => Err(Fault::Escape),
        }
    }

    /// `\pL`, `\PL`, `\p{Greek}`, `\p{^Greek}`.
    fn unicode_class(&mut self) -> Result<String, Fault> {
        let mut negated = self.take() == Some('P');
        let name = if self.take_if("{") {
            let (name, rest) = self.rest.split_once('}').ok_or(Fault::ClassRange)?;
            self.rest = rest;
            match name.strip_prefix('^') {
                Some(name) => {
                    negated = !negated;
                    name
                }
                None => name,
            }
        } else {
            let before = self.rest;
            let c = self.take().ok_or(Fault::ClassRange)?;
            &before[..c.len_utf8()]
        };
        unicode_group(name, negated).ok_or(Fault::ClassRange)
    }

    fn class(&mut self) -> Result<(), Fault> {
        self.advance(1);
        let mut class = String::from("[");
        if self.take_if("^") {
            class.push('^');
        }
        let mut is_first = true; // a bracket that comes first is a plain character
        while is_first || self.peek() != Some(']') {
            is_first = false;
            self.class_member(&mut class)?;
        }
        self.advance(1);
        class.push(']');
        self.item(|out| out.push_str(&class));
        Ok(())
    }

    fn class_member(&mut self, class: &mut String) -> Result<(), Fault> {
        if self.rest.starts_with("[:")
            && let Some((name, rest)) = self.rest["[:".len()..].split_once(":]")
        {
            self.rest = rest;
            return push_posix_class(class, name);
        }
        if let Some(perl) = self.rest.strip_prefix('\\').and_then(first_char).and_then(perl_class) {
            self.advance(2);
            class.push_str(perl);
            return Ok(());
        }
        if self.rest.starts_with(r"\p") || self.rest.starts_with(r"\P") {
            self.advance(1);
            let group = self.unicode_class()?;
            class.push_str(&group);
            return Ok(());
        }
        let low = self.class_char()?;
        push_literal(class, low);
        let is_range = self.rest.strip_prefix('-').is_some_and(|after| !after.is_empty() && !after.starts_with(']'));
        if is_range {
            self.advance(1);
            let high = self.class_char()?;
            if high < low {
                return Err(Fault::ClassRange);
            }
            class.push('-');
            push_literal(class, high);
        }
        Ok(())
    }

    fn class_char(&mut self) -> Result<char, Fault> {
        match self.take().ok_or(Fault::MissingBracket)? {
            '\\' => self.escaped_char(),
            c => Ok(c),
        }
    }
}

fn first_char(text: &str) -> Option<char> {
    text.chars().next()
}

/// RE2's are of ASCII, Rust's would be of Unicode.
fn perl_class(c: char) -> Option<&'static str> {
    Some(match c {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\x0C\r ]",
        'S' => r"[^\t\n\x0C\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() {
        out.push(c);
    } else {
        let written = write!(out, "\\x{{{:X}}}", u32::from(c));
        debug_assert!(written.is_ok(), "writing to a string");
    }
}

/// `[:alpha:]` and `[:^alpha:]`, for which both dialects have the same names.
fn push_posix_class(class: &mut String, name: &str) -> Result<(), Fault> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
        "word", "xdigit",
    ];
    if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
        return Err(Fault::ClassRange);
    }
    class.push_str("[:");
    class.push_str(name);
    class.push_str(":]");
    Ok(())
}

/// A general category by its short name, or a script by its full one. Rust knows more spellings, RE2 does not.
fn unicode_group(name: &str, negated: bool) -> Option<String> {
    const CATEGORIES: [&str; 36] = [
        "C", "Cc", "Cf", "Co", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P",
        "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs", "Any",
    ];
    let letter = if negated { 'P' } else { 'p' };
    if name == "Cs" {
        // Surrogates, which no text of ours can hold.
        return Some(if negated { r"\p{Any}".to_owned() } else { NOTHING.to_owned() });
    }
    if CATEGORIES.contains(&name) {
        return Some(format!("\\{letter}{{{name}}}"));
    }
    let is_title = |word: &str| {
        let mut chars = word.chars();
        chars.next().is_some_and(|c| c.is_ascii_uppercase()) && chars.all(|c| c.is_ascii_lowercase())
    };
    let is_script = name.len() > 2 && name.split('_').all(is_title);
    let class = format!("\\{letter}{{sc={name}}}");
    (is_script && regex::Regex::new(&class).is_ok()).then_some(class)
}

type Count = (u32, Option<u32>);

/// Behind a brace: the counts, and what follows the closing brace. A count too large to be told is a huge one.
fn read_count(text: &str) -> Option<(Count, &str)> {
    let (min, rest) = read_number(text)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => {
            let (max, rest) = read_number(rest)?;
            (Some(max), rest)
        }
    };
    Some(((min, max), rest.strip_prefix('}')?))
}

fn read_number(text: &str) -> Option<(u32, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let has_leading_zero = digits.len() > 1 && digits.starts_with('0');
    if digits.is_empty() || has_leading_zero {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}
