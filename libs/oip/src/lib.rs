//! The messages of the Open Inference Protocol v2 with its binary tensor extension, as the hub's inference server and the
//! gateway's `hub` engine write and read them. Pure: bytes in, bytes out.
//!
//! A message is a JSON head, and behind it the bytes of those tensors whose parameters say how many there are, in the order
//! of the head; the HTTP header [`HEAD_LENGTH`] tells where the head ends. Without that header all is JSON, and numbers
//! stand in `data`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use serde::{Deserialize, Serialize};

/// The HTTP header that says how many bytes the JSON head has.
pub const HEAD_LENGTH: &str = "inference-header-content-length";

/// The type of a message with binary tensors.
pub const BINARY: &str = "application/octet-stream";

/// Pictures as a model takes them here.
pub const UINT8: &str = "UINT8";

/// Probabilities.
pub const FP32: &str = "FP32";

/// What is asked of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The tensors.
    pub inputs: Vec<Tensor>,
    /// What is wanted of the outputs; all of them, as JSON, when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Wanted>,
}

/// What a model says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The model's name in the address.
    pub model_name: String,
    /// Its version, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// The request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The tensors.
    pub outputs: Vec<Tensor>,
}

/// One tensor of a message, without the bytes behind the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    /// Its name in the model.
    pub name: String,
    /// Its axes, the batch first.
    pub shape: Vec<u64>,
    /// As in [`UINT8`].
    pub datatype: String,
    /// Where its bytes are.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,
    /// Its numbers, row by row, where they stand in the head; read from nested lists as well.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "flat")]
    pub data: Option<Vec<f64>>,
}

/// Numbers of a list, and of lists in it, in their order.
fn flat<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<f64>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Item {
        Number(f64),
        List(Vec<Item>),
    }
    fn collect(items: Vec<Item>, out: &mut Vec<f64>) {
        for item in items {
            match item {
                Item::Number(number) => out.push(number),
                Item::List(items) => collect(items, out),
            }
        }
    }
    let Some(items) = Option::<Vec<Item>>::deserialize(deserializer)? else { return Ok(None) };
    let mut out = Vec::new();
    collect(items, &mut out);
    Ok(Some(out))
}

/// Parameters of a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// So many bytes of it stand behind the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_data_size: Option<u64>,
}

impl Parameters {
    fn is_empty(&self) -> bool {
        self.binary_data_size.is_none()
    }
}

/// How an output is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// In which form.
    #[serde(default)]
    pub parameters: WantedParameters,
}

/// In which form an output is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedParameters {
    /// As bytes behind the head.
    #[serde(default)]
    pub binary_data: bool,
}

/// What a model is, as `GET /v2/models/{model}` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// The model's name in the address.
    pub name: String,
    /// Its versions.
    pub versions: Vec<String>,
    /// What runs it.
    pub platform: String,
    /// What it takes; the batch axis is -1.
    pub inputs: Vec<Described>,
    /// What it gives.
    pub outputs: Vec<Described>,
}

/// A tensor of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// As in [`UINT8`].
    pub datatype: String,
    /// Its axes; -1 for any number.
    pub shape: Vec<i64>,
}

/// The protocol's form of every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong, and what to do.
    pub error: String,
}

/// A message that is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The head is not what it should be.
    #[error("the head is not JSON of this protocol")]
    Head(#[from] serde_json::Error),
    /// The head is said to be longer than the message.
    #[error("the head is said to have {said} bytes, the message has {there}")]
    Short {
        /// What [`HEAD_LENGTH`] says.
        said: usize,
        /// How many bytes came.
        there: usize,
    },
    /// The bytes behind the head are not those that it names.
    #[error("the head names {named} bytes of tensors, {there} are behind it")]
    Tensors {
        /// By `binary_data_size`.
        named: u64,
        /// How many there are.
        there: u64,
    },
}

/// A message as it is sent: the head, the tensors' bytes, and how long the head is.
pub fn write<H: Serialize>(head: &H, tensors: &[&[u8]]) -> Result<(Vec<u8>, usize), Error> {
    let mut message = serde_json::to_vec(head)?;
    let length = message.len();
    message.reserve(tensors.iter().map(|bytes| bytes.len()).sum());
    tensors.iter().for_each(|bytes| message.extend_from_slice(bytes));
    Ok((message, length))
}

/// Each tensor's bytes; `None` for those whose numbers stand in the head.
pub type Parts<'m> = Vec<Option<&'m [u8]>>;

/// Splits a message into its head and each tensor's bytes, as `tensors` finds them in the head. `head_length` is what the
/// header said; all of the message is head without it.
///
/// # Errors
/// [`Error`]; nothing of it is trusted before its length is.
pub fn read<'m, H: for<'de> Deserialize<'de>>(
    message: &'m [u8],
    head_length: Option<usize>,
    tensors: impl FnOnce(&H) -> &[Tensor],
) -> Result<(H, Parts<'m>), Error> {
    let length = head_length.unwrap_or(message.len());
    let Some((head, mut rest)) = message.split_at_checked(length) else {
        return Err(Error::Short { said: length, there: message.len() });
    };
    let head: H = serde_json::from_slice(head)?;
    let sizes: Vec<Option<u64>> = tensors(&head).iter().map(|tensor| tensor.parameters.binary_data_size).collect();
    let named = sizes.iter().flatten().try_fold(0u64, |sum, size| sum.checked_add(*size)).unwrap_or(u64::MAX);
    if named != rest.len() as u64 {
        return Err(Error::Tensors { named, there: rest.len() as u64 });
    }
    let mut parts = Vec::with_capacity(sizes.len());
    for size in sizes {
        parts.push(size.map(|size| {
            let (bytes, more) = rest.split_at(size as usize);
            rest = more;
            bytes
        }));
    }
    Ok((head, parts))
}

/// Numbers as they stand behind a head: 32-bit floats, the least significant byte first.
pub fn from_floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Reads them into `out`; `false` when there are not as many.
pub fn to_floats(bytes: &[u8], out: &mut [f32]) -> bool {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() || numbers.len() != out.len() {
        return false;
    }
    out.iter_mut().zip(numbers).for_each(|(out, number)| *out = f32::from_le_bytes(*number));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(sizes: [Option<u64>; 2]) -> Request {
        let tensor = |(at, size): (usize, Option<u64>)| Tensor {
            name: format!("in{at}"),
            shape: vec![1, 2],
            datatype: UINT8.into(),
            parameters: Parameters { binary_data_size: size },
            data: size.is_none().then(|| vec![7.0, 8.0]),
        };
        Request { id: None, inputs: sizes.into_iter().enumerate().map(tensor).collect(), outputs: vec![] }
    }

    #[test]
    fn what_is_written_is_read() {
        let asked = request([Some(2), None]);
        let (message, length) = write(&asked, &[&[1, 2]]).unwrap();
        let (read, tensors) = read(&message, Some(length), |r: &Request| &r.inputs).unwrap();
        assert_eq!((read, tensors), (asked, vec![Some(&[1u8, 2][..]), None]));
    }

    #[test]
    fn nested_data_is_flat_data() {
        let of = |data: &str| {
            let text = format!(r#"{{"inputs":[{{"name":"a","shape":[2,2],"datatype":"UINT8","data":{data}}}]}}"#);
            read(text.as_bytes(), None, |r: &Request| &r.inputs).map(|(request, _)| request.inputs[0].data.clone())
        };
        assert_eq!(of("[[1,2],[3,4]]").unwrap(), of("[1,2,3,4]").unwrap());
        assert_eq!(of("[1,2,3,4]").unwrap(), Some(vec![1.0, 2.0, 3.0, 4.0]));
        assert!(of("[1,\"2\"]").is_err());
    }

    #[test]
    fn lengths_that_do_not_fit_are_named() {
        let (message, length) = write(&request([Some(2), Some(3)]), &[&[1, 2], &[3]]).unwrap();
        let of =
            |message: &[u8], length| read(message, length, |r: &Request| &r.inputs).map(drop).unwrap_err().to_string();
        assert_eq!(of(&message, Some(length)), "the head names 5 bytes of tensors, 3 are behind it");
        let all = message.len();
        assert_eq!(
            of(&message, Some(all + 1)),
            format!("the head is said to have {} bytes, the message has {all}", all + 1)
        );
        assert_eq!(of(&message, Some(3)), "the head is not JSON of this protocol");
        let (message, length) = write(&request([Some(u64::MAX), Some(2)]), &[]).unwrap();
        assert!(of(&message, Some(length)).contains("the head names 18446744073709551615 bytes"));
    }

    #[test]
    fn floats_are_little_endian() {
        let mut out = [0.0; 2];
        assert_eq!(from_floats(&[1.0, -2.5])[..4], [0, 0, 128, 63]);
        assert!(to_floats(&from_floats(&[1.0, -2.5]), &mut out) && out == [1.0, -2.5]);
        assert!(!to_floats(&[0; 7], &mut out) && !to_floats(&[0; 4], &mut out));
    }
}
