//! A region's rectangle: whole pixels or fractions of the picture, made definite when the picture's size is known.

use serde::{Deserialize, Deserializer, Serialize, de};

/// Rectangle as the configuration gives it. All whole numbers: pixels. Otherwise: fractions of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RectSpec {
    /// Left edge.
    pub x: Coordinate,
    /// Upper edge.
    pub y: Coordinate,
    /// Width.
    pub width: Coordinate,
    /// Height.
    pub height: Coordinate,
}

/// One number of a rectangle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Coordinate {
    /// Written as a whole number.
    Whole(u32),
    /// Written with a decimal point.
    Fraction(f64),
}

/// Why a rectangle does not fit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RectError {
    /// Wrong whatever the picture's size.
    #[error("rectangle {0}: {1}")]
    Impossible(String, &'static str),
    /// Pixels that the picture does not have.
    #[error(
        "rectangle {rect} lies outside the picture of {width}x{height} pixels: make it smaller, or write it in fractions \
         of the picture (0.0 to 1.0)"
    )]
    Outside {
        /// The rectangle, as written.
        rect: String,
        /// The picture's width.
        width: u32,
        /// The picture's height.
        height: u32,
    },
}

impl RectSpec {
    /// The whole picture.
    pub const FULL: Self = Self {
        x: Coordinate::Fraction(0.0),
        y: Coordinate::Fraction(0.0),
        width: Coordinate::Fraction(1.0),
        height: Coordinate::Fraction(1.0),
    };

    /// What can be said before the picture's size is known.
    pub fn check(&self) -> Result<(), RectError> {
        let wrong = |why| Err(RectError::Impossible(self.to_string(), why));
        match self.pixels() {
            Some([.., 0, _] | [.., 0]) => wrong("its width and height must be at least 1 pixel"),
            Some(_) => Ok(()),
            None => {
                let [x, y, width, height] = self.fractions();
                let inside = |at: f64, size: f64| at >= 0.0 && size > 0.0 && at + size <= 1.0 + 1e-9;
                if !inside(x, width) || !inside(y, height) {
                    return wrong("fractions must lie within 0.0 and 1.0, x + width and y + height too");
                }
                Ok(())
            }
        }
    }

    /// The rectangle in a picture of this size.
    pub fn resolve(&self, width: u32, height: u32) -> Result<vision::Rect, RectError> {
        self.check()?;
        let outside = || RectError::Outside { rect: self.to_string(), width, height };
        let [x, y, w, h] = match self.pixels() {
            Some(pixels) => pixels,
            None => {
                let [x, y, w, h] = self.fractions();
                let (left, right) = edges(x, w, width);
                let (top, bottom) = edges(y, h, height);
                [left, top, right - left, bottom - top]
            }
        };
        let fits = |at: u32, size: u32, of: u32| size > 0 && at.checked_add(size).is_some_and(|end| end <= of);
        if fits(x, w, width) && fits(y, h, height) {
            Ok(vision::Rect { x, y, width: w, height: h })
        } else {
            Err(outside())
        }
    }

    fn pixels(&self) -> Option<[u32; 4]> {
        match [self.x, self.y, self.width, self.height] {
            [Coordinate::Whole(x), Coordinate::Whole(y), Coordinate::Whole(w), Coordinate::Whole(h)] => {
                Some([x, y, w, h])
            }
            _ => None,
        }
    }

    fn fractions(&self) -> [f64; 4] {
        [self.x, self.y, self.width, self.height].map(|c| match c {
            Coordinate::Whole(n) => f64::from(n),
            Coordinate::Fraction(f) => f,
        })
    }
}

/// Both edges rounded to pixels, at least one pixel apart, within the picture.
fn edges(at: f64, size: f64, of: u32) -> (u32, u32) {
    let of_f = f64::from(of);
    let low = ((at * of_f).round() as u32).min(of.saturating_sub(1));
    let high = (((at + size) * of_f).round() as u32).clamp(low + 1, of.max(low + 1));
    (low, high)
}

/// `x,y,width,height`, as element properties and queries have it.
impl std::str::FromStr for RectSpec {
    type Err = RectError;

    fn from_str(text: &str) -> Result<Self, RectError> {
        let number = |text: &str| {
            let whole = text.parse().map(Coordinate::Whole);
            whole.or_else(|_| text.parse().map(Coordinate::Fraction)).ok()
        };
        let numbers: Option<Vec<_>> = text.split(',').map(|part| number(part.trim())).collect();
        let Some([x, y, width, height]) = numbers.as_deref() else {
            let why = "write x,y,width,height: pixels as in 0,0,640,480, or fractions as in 0.1,0.2,0.5,0.5";
            return Err(RectError::Impossible(format!("`{text}`"), why));
        };
        let rect = Self { x: *x, y: *y, width: *width, height: *height };
        rect.check().map(|()| rect)
    }
}

impl std::fmt::Display for RectSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { x, y, width, height } = self;
        write!(f, "x = {x}, y = {y}, width = {width}, height = {height}")
    }
}

impl std::fmt::Display for Coordinate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(n) => write!(f, "{n}"),
            Self::Fraction(x) => write!(f, "{x:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Coordinate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Number;
        impl de::Visitor<'_> for Number {
            type Value = Coordinate;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("whole pixels, as in 320, or a fraction of the picture, as in 0.25")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Coordinate, E> {
                u32::try_from(n)
                    .map(Coordinate::Whole)
                    .map_err(|_| E::custom(format!("{n} is not from 0 to 4294967295")))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Coordinate, E> {
                u32::try_from(n)
                    .map(Coordinate::Whole)
                    .map_err(|_| E::custom(format!("{n} is not from 0 to 4294967295")))
            }
            fn visit_f64<E: de::Error>(self, x: f64) -> Result<Coordinate, E> {
                Ok(Coordinate::Fraction(x))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Coordinate, E> {
                let whole = text.parse().map(Coordinate::Whole);
                let any = whole.or_else(|_| text.parse().map(Coordinate::Fraction));
                any.map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        d.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> RectSpec {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn pixels_and_fractions_resolve() {
        for (text, expect) in [
            ("x = 10\ny = 20\nwidth = 30\nheight = 40", (10, 20, 30, 40)),
            ("x = 0.1\ny = 0.2\nwidth = 0.5\nheight = 0.5", (64, 96, 320, 240)),
            ("x = 0\ny = 0\nwidth = 1\nheight = 0.5", (0, 0, 640, 240)),
            ("x = 0.999\ny = 0.5\nwidth = 0.0001\nheight = 0.5", (639, 240, 1, 240)),
        ] {
            let r = spec(text).resolve(640, 480).unwrap();
            assert_eq!((r.x, r.y, r.width, r.height), expect, "{text}");
        }
        let full = RectSpec::FULL.resolve(641, 361).unwrap();
        assert_eq!((full.x, full.y, full.width, full.height), (0, 0, 641, 361));
    }

    #[test]
    fn text_is_read() {
        assert_eq!("0.1, 0.2,0.5,0.5".parse(), Ok(spec("x = 0.1\ny = 0.2\nwidth = 0.5\nheight = 0.5")));
        assert_eq!("0,0,64,48".parse(), Ok(spec("x = 0\ny = 0\nwidth = 64\nheight = 48")));
        for bad in ["", "1,2,3", "a,b,c,d", "0,0,0,5", "0.5,0.5,0.6,0.1", "-1,0,5,5"] {
            assert!(bad.parse::<RectSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rectangle_outside_the_picture_is_named() {
        let pixels = spec("x = 600\ny = 0\nwidth = 100\nheight = 10");
        assert!(pixels.check().is_ok());
        let error = pixels.resolve(640, 480).unwrap_err().to_string();
        assert!(error.contains("x = 600") && error.contains("640x480"), "{error}");
        for bad in ["x = 0.5\ny = 0.0\nwidth = 0.6\nheight = 1.0", "x = 1\ny = 1\nwidth = 0\nheight = 5"] {
            assert!(spec(bad).check().is_err());
        }
        assert!(toml::from_str::<RectSpec>("x = -1\ny = 0\nwidth = 1\nheight = 1").is_err());
    }

    proptest::proptest! {
        #[test]
        fn resolved_fractions_always_fit(x in 0.0..1.0f64, w in 0.0001..1.0f64, width in 1u32..5000, height in 1u32..5000) {
            let w = w.min(1.0 - x).max(1e-6);
            let spec = RectSpec { x: Coordinate::Fraction(x), width: Coordinate::Fraction(w), ..RectSpec::FULL };
            if spec.check().is_ok() {
                let r = spec.resolve(width, height).unwrap();
                assert!(r.width >= 1 && r.x + r.width <= width && r.y + r.height <= height);
            }
        }
    }
}
