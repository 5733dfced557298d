//! Where the broker's program is. Debian puts it into `/usr/sbin`, which is not in everybody's `PATH`.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::Error;

const SBIN: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// The program's path.
pub(super) fn find(program: &str) -> Result<PathBuf, Error> {
    let missing = |looked: String| Err(Error::Missing { program: program.to_owned(), looked });
    if program.contains('/') {
        let path = PathBuf::from(program);
        return if is_program(&path) { Ok(path) } else { missing("that place alone".to_owned()) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SBIN.map(PathBuf::from));
    match folders.map(|folder| folder.join(program)).find(|candidate| is_program(candidate)) {
        Some(found) => Ok(found),
        None => missing(format!("$PATH, {}", SBIN.join(", "))),
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_the_package() {
        for program in ["no-such-broker", "/no/such/mosquitto"] {
            let error = find(program).unwrap_err().to_string();
            for part in [program, "apt-get install mosquitto", "mqtt = \"mqtt://host:1883\""] {
                assert!(error.contains(part), "{error}");
            }
        }
        assert!(find("sh").unwrap().is_absolute());
    }
}
