//! Values with units, and values that must not be seen.

use std::{fmt, path::Path, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time with its unit: `"100ms"`, `"5s"`, `"10m"`, `"1h30m"`, `"7d"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// A number of bytes with its unit: `"256KiB"`, `"64MiB"`, `"2GiB"`, `"500MB"`, `"100B"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl Span {
    /// Whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Whole milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl Bytes {
    /// Whole kibibytes.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// Whole mebibytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as a length in memory.
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Whether it is nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

const SPAN_UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];
const BYTE_UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// The sum of `<number><unit>` terms, in the smallest unit.
fn parse_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, after) = rest.split_at(number);
        let after = after.trim_start();
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (_, factor) = units.iter().find(|(name, _)| *name == &after[..unit])?;
        let value = match digits.parse::<u64>() {
            Ok(whole) => whole.checked_mul(*factor)?,
            Err(_) => (digits.parse::<f64>().ok().filter(|v| *v < 1e12)? * *factor as f64).round() as u64,
        };
        total = total.checked_add(value)?;
        rest = after[unit..].trim_start();
    }
    (!text.trim().is_empty()).then_some(total)
}

fn print_units(f: &mut fmt::Formatter<'_>, mut value: u64, units: &[(&str, u64)], zero: &str) -> fmt::Result {
    if value == 0 {
        return f.write_str(zero);
    }
    for (name, factor) in units {
        if value >= *factor && (value.is_multiple_of(*factor) || zero == "0s") {
            write!(f, "{}{name}", value / factor)?;
            value %= factor;
        }
        if value == 0 {
            break;
        }
    }
    Ok(())
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_units(text, &SPAN_UNITS).map(|us| Self(Duration::from_micros(us))).ok_or_else(|| {
            format!("{text:?} is not a length of time; write one such as \"100ms\", \"5s\", \"10m\" or \"1h\"")
        })
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_units(text, &BYTE_UNITS)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a size; write one such as \"256KiB\", \"64MiB\" or \"2GiB\""))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_units(f, u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX), &SPAN_UNITS, "0s")
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_units(f, self.0, &BYTE_UNITS, "0B")
    }
}

/// Reads a value from its text, and says what to write when it is a bare number.
struct Text<T>(std::marker::PhantomData<T>, &'static str);

impl<T: FromStr<Err = String>> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! as_text {
    ($type:ty, $expecting:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text(std::marker::PhantomData, $expecting))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

as_text!(Span, "a length of time with its unit, such as \"5s\"");
as_text!(Bytes, "a size with its unit, such as \"64MiB\"");
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SecretText)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Takes a text; what is none is refused without saying it, since it is somebody's password all the same.
struct SecretText;

impl SecretText {
    fn refused<E: de::Error>() -> E {
        E::custom("this is not a text: put it in quotes, or write \"env:NAME\" or \"file:/path\"")
    }
}

impl de::Visitor<'_> for SecretText {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or \"env:NAME\", or \"file:/path\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(Self::refused())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(Self::refused())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(Self::refused())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(Self::refused())
    }
}

/// A secret, written as itself, as `env:NAME` or as `file:/path`. It prints as where it came from, never as itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    origin: Option<String>,
}

impl Secret {
    /// A secret from memory.
    pub fn literal(value: impl Into<String>) -> Self {
        Self { value: value.into(), origin: None }
    }

    /// The secret itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.value
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let value = if let Some(name) = text.strip_prefix("env:") {
            std::env::var(name)
                .map_err(|_| format!("environment variable {name} is not set; export it or use file:/path"))?
        } else if let Some(path) = text.strip_prefix("file:") {
            let read = std::fs::read_to_string(Path::new(path));
            let contents = read.map_err(|error| format!("cannot read the secret from {path}: {error}"))?;
            contents.trim_end_matches(['\r', '\n']).to_owned()
        } else {
            return Ok(Self::literal(text));
        };
        if value.is_empty() {
            return Err(format!("the secret at {text} is empty"));
        }
        Ok(Self { value, origin: Some(text.to_owned()) })
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.origin.as_deref().unwrap_or("***"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_printed() {
        for (text, us, printed) in [
            ("100ms", 100_000, "100ms"),
            ("1h30m", 5_400_000_000, "1h30m"),
            ("1.5s", 1_500_000, "1s500ms"),
            ("90s", 90_000_000, "1m30s"),
            ("0", 0, "0s"),
            ("7 d", 604_800_000_000, "7d"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.0.as_micros(), span.to_string().as_str()), (us, printed), "{text}");
            assert_eq!(span.to_string().parse(), Ok(span));
        }
        for text in ["", "5", "s", "5 sec", "-1s", "1e3s", "99999999999999d"] {
            assert!(text.parse::<Span>().unwrap_err().contains("5s"), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, n, printed) in [
            ("64MiB", 64 << 20, "64MiB"),
            ("1.5KiB", 1536, "1536B"),
            ("500MB", 500_000_000, "500MB"),
            ("2048B", 2048, "2KiB"),
        ] {
            let bytes: Bytes = text.parse().unwrap();
            assert_eq!((bytes.0, bytes.to_string().as_str()), (n, printed), "{text}");
        }
        assert!("64".parse::<Bytes>().is_err() && "64mb".parse::<Bytes>().is_err());
    }

    #[test]
    fn secrets_come_from_where_they_say_and_never_print() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pw");
        std::fs::write(&path, "hunter2\n").unwrap();
        let text = format!("file:{}", path.display());
        let secret: Secret = text.parse().unwrap();
        assert_eq!((secret.expose(), secret.to_string()), ("hunter2", text.clone()));
        let literal = Secret::literal("hunter2");
        assert_eq!(format!("{literal} {literal:?}"), "*** Secret(***)");
        let absent = "env:SIGHTLINE_NO_SUCH_NAME".parse::<Secret>().unwrap_err();
        assert!(absent.contains("SIGHTLINE_NO_SUCH_NAME"), "{absent}");
        assert!("file:/no/such".parse::<Secret>().unwrap_err().contains("/no/such"));
    }
}
