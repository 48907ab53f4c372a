//! The format strings of kcat's `-f`, which users have in their fingers.
//!
//! Tokens: `%t` topic, `%p` partition, `%o` offset, `%k` key, `%s` value, `%h` headers (`a=1,b=2`), `%T` timestamp in ms
//! (-1 if none), `%K` and `%S` lengths of key and value in bytes (-1 for null), `%%` a per cent sign. Escapes: `\n \r \t
//! \\ \xNN \0`. Anything else behind `%` or a backslash is refused, with its place.
//!
//! Invariants: key and value are written as bytes, never re-encoded; null is written as nothing.

/// The fields of one record, as they shall be shown.
pub(crate) struct Fields<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(String, Option<Vec<u8>>)],
}

#[derive(Debug, PartialEq)]
enum Token {
    Literal(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyLength,
    Value,
    ValueLength,
    Headers,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Format {
    tokens: Vec<Token>,
}

impl Format {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut literal = Vec::new();
        let mut characters = text.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '%' => {
                    let token =
                        token(characters.next().map(|(_, c)| c)).map_err(|e| format!("{e} at character {at}"))?;
                    match token {
                        Token::Literal(bytes) => literal.extend(bytes),
                        field => push_field(&mut tokens, &mut literal, field),
                    }
                }
                '\\' => literal.push(escape(&mut characters).map_err(|e| format!("{e} at character {at}"))?),
                other => literal.extend(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !literal.is_empty() {
            tokens.push(Token::Literal(literal));
        }
        Ok(Self { tokens })
    }

    pub(crate) fn render(&self, fields: &Fields<'_>, into: &mut Vec<u8>) {
        for token in &self.tokens {
            match token {
                Token::Literal(bytes) => into.extend(bytes),
                Token::Topic => into.extend(fields.topic.as_bytes()),
                Token::Partition => number(fields.partition.into(), into),
                Token::Offset => number(fields.offset, into),
                Token::Timestamp => number(fields.timestamp.unwrap_or(-1), into),
                Token::Key => into.extend(fields.key.unwrap_or_default()),
                Token::KeyLength => number(length(fields.key), into),
                Token::Value => into.extend(fields.value.unwrap_or_default()),
                Token::ValueLength => number(length(fields.value), into),
                Token::Headers => headers(fields.headers, into),
            }
        }
    }
}

fn push_field(tokens: &mut Vec<Token>, literal: &mut Vec<u8>, field: Token) {
    if !literal.is_empty() {
        tokens.push(Token::Literal(std::mem::take(literal)));
    }
    tokens.push(field);
}

fn token(letter: Option<char>) -> Result<Token, String> {
    Ok(match letter {
        Some('t') => Token::Topic,
        Some('p') => Token::Partition,
        Some('o') => Token::Offset,
        Some('T') => Token::Timestamp,
        Some('k') => Token::Key,
        Some('K') => Token::KeyLength,
        Some('s') => Token::Value,
        Some('S') => Token::ValueLength,
        Some('h') => Token::Headers,
        Some('%') => Token::Literal(b"%".to_vec()),
        Some(other) => return Err(format!("unknown token `%{other}` (known: %t %p %o %T %k %K %s %S %h %%)")),
        None => return Err("`%` at the end; write `%%` for a per cent sign".to_owned()),
    })
}

fn escape(characters: &mut std::str::CharIndices<'_>) -> Result<u8, String> {
    Ok(match characters.next().map(|(_, character)| character) {
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('0') => 0,
        Some('\\') => b'\\',
        Some('x') => {
            let digits: String = characters.by_ref().take(2).map(|(_, character)| character).collect();
            u8::from_str_radix(&digits, 16).map_err(|_| format!("`\\x{digits}` is not a byte in hex"))?
        }
        Some(other) => return Err(format!("unknown escape `\\{other}` (known: \\n \\r \\t \\0 \\\\ \\xNN)")),
        None => return Err("backslash at the end; write `\\\\` for one".to_owned()),
    })
}

fn number(number: i64, into: &mut Vec<u8>) {
    into.extend(number.to_string().as_bytes());
}

fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

fn headers(headers: &[(String, Option<Vec<u8>>)], into: &mut Vec<u8>) {
    for (index, (name, value)) in headers.iter().enumerate() {
        if index > 0 {
            into.push(b',');
        }
        into.extend(name.as_bytes());
        into.push(b'=');
        match value {
            Some(value) => into.extend(value),
            None => into.extend(b"NULL"),
        }
    }
}

#[cfg(test)]
mod tests;
