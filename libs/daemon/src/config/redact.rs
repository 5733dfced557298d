//! What a text may show. Addresses carry secrets in two places: before the `@` of the host, and as `password=…` (or a word
//! like it) behind it, as databases and many cameras have it. Where an address is shown, both are left out.

/// Words that a secret follows after a `=`.
const WORDS: [&str; 12] = [
    "password=",
    "passwd=",
    "passphrase=",
    "pass=",
    "pwd=",
    "secret=",
    "token=",
    "key=",
    "auth=",
    "authorization=",
    "signature=",
    "sig=",
];

/// The text without the secrets of the addresses in it; any other text as it is.
pub fn without_secrets(text: &str) -> String {
    let Some(scheme) = text.find("://") else { return text.to_owned() };
    let (head, rest) = text.split_at(scheme + 3);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password that somebody forgot to encode may hold any of these: the last `@` counts.
    let (userinfo, from) = match (rest[..end].rfind('@'), rest.rfind('@')) {
        (Some(at), _) => (Some(&rest[..at]), at),
        (None, Some(at)) if !ends_in_a_port(&rest[..end]) => (Some(&rest[..at]), at),
        _ => (None, 0),
    };
    let shown = match userinfo.map(|userinfo| userinfo.split_once(':')) {
        None => String::new(),
        Some(Some((user, _))) => format!("{user}:***"),
        // A name alone may be a token.
        Some(None) => "***".to_owned(),
    };
    format!("{head}{shown}{}", without_values(&rest[from..]))
}

/// Whether this is a host, perhaps with its port, and not a user name with the beginning of a password.
fn ends_in_a_port(authority: &str) -> bool {
    authority
        .split_once(':')
        .is_none_or(|(host, port)| host.contains('.') && !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()))
}

/// `a=1&password=x` as `a=1&password=***`.
fn without_values(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(['/', '?', '&', ';', '#']) {
        let (part, divider) = match part.char_indices().last() {
            Some((at, '/' | '?' | '&' | ';' | '#')) => part.split_at(at),
            _ => (part, ""),
        };
        let lower = part.to_ascii_lowercase();
        match WORDS.iter().filter_map(|word| Some(lower.find(word)? + word.len())).min() {
            Some(value) if value < part.len() => out.extend([&part[..value], "***"]),
            _ => out.push_str(part),
        }
        out.push_str(divider);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_addresses_are_left_out_and_nothing_else() {
        for (text, shown) in [
            ("mqtt://user:hunter2@broker:1883", "mqtt://user:***@broker:1883"),
            ("https://t0ken@collector/v1", "https://***@collector/v1"),
            ("mqtt://user:hun/ter2@broker", "mqtt://user:***@broker"),
            ("postgres://u@h/d?password=hunter2&sslmode=require", "postgres://***@h/d?password=***&sslmode=require"),
            ("postgres:///d?host=/run&Password=hunter2", "postgres:///d?host=/run&Password=***"),
            (
                "rtsp://cam:554/user=admin&password=hunter2&channel=1",
                "rtsp://cam:554/user=admin&password=***&channel=1",
            ),
            ("rtsp://cam/user=admin_password=hunter2_1.sdp", "rtsp://cam/user=admin_password=***"),
            ("http://cam/snap.jpg?user=a&pwd=hunter2#x", "http://cam/snap.jpg?user=a&pwd=***#x"),
            ("mqtt://a.b:hun/ter2@broker", "mqtt://a.b:***@broker"),
            ("http://cam.example/people@home:1", "http://cam.example/people@home:1"),
            ("rtsp://10.0.0.1:554/stream1?channel=1", "rtsp://10.0.0.1:554/stream1?channel=1"),
            ("/var/lib/x?password=y", "/var/lib/x?password=y"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(text), shown);
            assert!(!without_secrets(text).contains("hunter2"));
        }
    }
}
