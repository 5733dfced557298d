//! Shards of pictures: tars in WebDataset's layout, the same bytes for the same pictures.

use std::io::{self, Write};

use tar::{Builder, Header};

/// Adds a file; gives where its bytes begin.
pub fn add<W: Write>(builder: &mut Builder<Counted<W>>, name: &str, bytes: &[u8]) -> io::Result<u64> {
    let mut header = Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_path(name)?;
    header.set_cksum();
    builder.append(&header, bytes)?;
    let padded = (bytes.len() as u64).next_multiple_of(512);
    Ok(builder.get_ref().written - padded)
}

/// Counts what passes.
pub struct Counted<W> {
    inner: W,
    /// Bytes so far.
    pub written: u64,
}

impl<W> Counted<W> {
    /// Nothing has passed.
    pub fn new(inner: W) -> Self {
        Self { inner, written: 0 }
    }

    /// What it was made of.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
