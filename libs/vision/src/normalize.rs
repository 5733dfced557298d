//! The second step, only for models that take floats: a fixed table, so that the stored bytes determine the tensor.

use contract::model::{Color, Layout, Normalize};

use crate::Error;

/// Turns uint8 into float by a table of 256 values a channel.
#[derive(Clone, Debug)]
pub struct Normalizer {
    tables: Vec<[f32; 256]>,
}

impl Normalizer {
    /// Tables of `(v * scale - mean[c]) / std[c]`, each computed in f64 and rounded once to f32.
    ///
    /// # Errors
    /// Another number of means or deviations than the colour has channels, a deviation of zero, or a number that is not finite.
    pub fn new(normalize: &Normalize, color: Color) -> Result<Self, Error> {
        let channels = color.channels();
        if normalize.mean.len() != channels || normalize.std.len() != channels {
            return Err(Error::Normalize(format!(
                "{} means and {} deviations for {channels} channels",
                normalize.mean.len(),
                normalize.std.len()
            )));
        }
        let scale = f64::from(normalize.scale);
        let table = |(&mean, &std): (&f32, &f32)| -> Result<[f32; 256], Error> {
            if !(scale.is_finite() && mean.is_finite() && std.is_finite() && std != 0.0) {
                return Err(Error::Normalize(format!("scale {scale}, mean {mean}, deviation {std}")));
            }
            let (mean, std) = (f64::from(mean), f64::from(std));
            Ok(std::array::from_fn(|v| ((v as f64 * scale - mean) / std) as f32))
        };
        let tables = normalize.mean.iter().zip(&normalize.std).map(table).collect::<Result<_, _>>()?;
        Ok(Self { tables })
    }

    /// Writes the float tensor of one or more pictures of uint8 in `layout`, in the same layout.
    ///
    /// `input` holds whole pictures; for [`Layout::Nchw`] with three channels give one picture a call.
    ///
    /// # Errors
    /// Buffers of different lengths, or of a length that is not a multiple of the channels.
    pub fn run(&self, input: &[u8], layout: Layout, out: &mut [f32]) -> Result<(), Error> {
        let channels = self.tables.len();
        if out.len() != input.len() {
            return Err(Error::Length { what: "float tensor", need: input.len(), have: out.len() });
        }
        if !input.len().is_multiple_of(channels) {
            let need = input.len().next_multiple_of(channels);
            return Err(Error::Length { what: "uint8 tensor", need, have: input.len() });
        }
        match (layout, self.tables.as_slice()) {
            (_, [gray]) => apply(gray, input, out),
            (Layout::Nchw, tables) => {
                let plane = (input.len() / channels).max(1);
                for ((table, input), out) in tables.iter().zip(input.chunks(plane)).zip(out.chunks_mut(plane)) {
                    apply(table, input, out);
                }
            }
            (Layout::Nhwc, [red, green, blue]) => {
                for (input, out) in input.as_chunks::<3>().0.iter().zip(out.as_chunks_mut::<3>().0) {
                    let [r, g, b] = input.map(usize::from);
                    *out = [red[r], green[g], blue[b]];
                }
            }
            (Layout::Nhwc, tables) => {
                for (input, out) in input.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
                    for ((table, v), out) in tables.iter().zip(input).zip(out) {
                        *out = table[usize::from(*v)];
                    }
                }
            }
        }
        Ok(())
    }
}

fn apply(table: &[f32; 256], input: &[u8], out: &mut [f32]) {
    for (v, out) in input.iter().zip(out) {
        *out = table[usize::from(*v)];
    }
}
