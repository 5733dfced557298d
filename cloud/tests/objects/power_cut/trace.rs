//! What `strace` wrote: the system calls of a process and its threads, each with the moments when it began and returned.

/// The calls that are recorded: all that change files or folders, and those that send an answer. A call that changes
/// files in a way that the record does not know must be here too, so that it is noticed.
pub const CALLS: &str = "open,openat,openat2,creat,close,dup,dup2,dup3,lseek,write,pwrite64,writev,pwritev,pwritev2,\
                         fsync,fdatasync,sync,syncfs,sync_file_range,ftruncate,truncate,fallocate,rename,renameat,\
                         renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,mkdir,mkdirat,rmdir,mmap,\
                         copy_file_range,sendfile,splice,sendto,sendmsg,io_uring_setup";

/// One call. A moment is a line of the trace.
#[derive(Debug)]
pub struct Call {
    pub begin: usize,
    /// `usize::MAX` when the process was killed before it returned.
    pub end: usize,
    pub name: String,
    pub result: i64,
    arguments: Vec<String>,
}

/// The calls of a trace, in the order in which they began. `from` is the moment of its first line.
pub fn parse(text: &str, from: usize) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut unfinished: std::collections::HashMap<&str, (usize, String)> = Default::default();
    for (line, moment) in text.lines().zip(from..) {
        let (pid, line) = line.split_once(' ').unwrap_or_else(|| panic!("no process in `{line}`"));
        let line = line.trim_start();
        if line.starts_with("+++") || line.starts_with("---") {
            continue;
        }
        if let Some(begun) = line.strip_suffix(" <unfinished ...>") {
            unfinished.insert(pid, (moment, begun.to_owned()));
        } else if let Some(resumed) = line.strip_prefix("<... ") {
            let rest = resumed.split_once(" resumed>").unwrap_or_else(|| panic!("cannot read `{line}`")).1;
            if let Some((begin, begun)) = unfinished.remove(pid) {
                calls.push(call(&(begun + rest), begin, moment));
            }
        } else {
            calls.push(call(line, moment, moment));
        }
    }
    calls.extend(unfinished.into_values().map(|(begin, begun)| call(&begun, begin, usize::MAX)));
    calls.sort_by_key(|call| call.begin);
    calls
}

fn call(line: &str, begin: usize, end: usize) -> Call {
    let (name, rest) = line.split_once('(').unwrap_or_else(|| panic!("no call in `{line}`"));
    let (arguments, result) = match rest.rsplit_once(" = ") {
        Some((arguments, result)) => (arguments.trim_end().strip_suffix(')').unwrap_or(arguments), result),
        None => (rest, "-1 killed"),
    };
    let number = result.split([' ', '<']).next().unwrap_or_default();
    // `mmap` gives an address, and calls that the end of a process interrupts a question mark: neither is looked at.
    let result = number.parse().unwrap_or(0);
    Call { begin, end, name: name.to_owned(), result, arguments: split(arguments) }
}

/// Arguments, separated by commas that are in no brackets. Texts are all in hexadecimal, so they hold neither.
fn split(arguments: &str) -> Vec<String> {
    let (mut split, mut depth) = (vec![String::new()], 0);
    for c in arguments.chars() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                split.push(String::new());
                continue;
            }
            _ => {}
        }
        split.last_mut().unwrap().push(c);
    }
    split.iter().map(|argument| argument.trim().to_owned()).collect()
}

impl Call {
    pub fn argument(&self, at: usize) -> &str {
        self.arguments.get(at).map_or("", String::as_str)
    }

    /// A file descriptor; `None` for the working directory.
    pub fn fd(&self, at: usize) -> Option<i64> {
        self.argument(at).split('<').next()?.parse().ok()
    }

    /// The path behind a file descriptor, as the system calls it.
    pub fn fd_path(&self, at: usize) -> String {
        let argument = self.argument(at);
        let hex = argument.split(['<', '>']).nth(1).unwrap_or_default();
        String::from_utf8_lossy(&unescape(hex)).into_owned()
    }

    pub fn number(&self, at: usize) -> usize {
        let argument = self.argument(at);
        argument.parse().unwrap_or_else(|_| panic!("`{argument}` is no number in {}", self.name))
    }

    /// All texts of an argument, one after the other: a path, or the bytes that are written.
    pub fn bytes(&self, at: usize) -> Vec<u8> {
        let argument = self.argument(at);
        assert!(!argument.contains("\"..."), "strace cut a text short; its -s is too small");
        argument.split('"').skip(1).step_by(2).flat_map(unescape).collect()
    }

    pub fn path(&self, at: usize) -> String {
        String::from_utf8(self.bytes(at)).unwrap()
    }
}

fn unescape(hex: &str) -> Vec<u8> {
    hex.split("\\x").skip(1).map(|byte| u8::from_str_radix(&byte[..2], 16).unwrap()).collect()
}
