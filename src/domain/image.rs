//! Images that go along with a prompt: what can be sent, and what is known of one without its content.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use imagesize::ImageType;
use sha2::{Digest, Sha256};

/// The largest image that is sent, in bytes: Cursor documents 15 MB, and does not say which.
pub const MAX_IMAGE_BYTES: usize = 15_000_000;

/// How much of a text is decoded to see whether it is an image in base64: more than the longest signature.
const SIGNATURE_CHARACTERS: usize = 32;

/// An image as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// Its content.
    Data(ImageData),
    /// A public https URL, which the provider reads.
    Url(String),
}

impl Image {
    /// What tells it from every other image.
    pub fn digest(&self) -> ImageDigest {
        match self {
            Self::Data(data) => data.digest(),
            Self::Url(url) => ImageDigest::of_url(url),
        }
    }
}

/// The formats that every provider with images takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// GIF.
    Gif,
    /// WebP.
    Webp,
}

impl ImageFormat {
    /// The format of what begins like this.
    fn of(content: &[u8]) -> Option<Self> {
        match imagesize::image_type(content).ok()? {
            ImageType::Png => Some(Self::Png),
            ImageType::Jpeg => Some(Self::Jpeg),
            ImageType::Gif => Some(Self::Gif),
            ImageType::Webp => Some(Self::Webp),
            _ => None,
        }
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
        }
    }
}

/// The content of an image that can be sent. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ImageData {
    content: Bytes,
    format: ImageFormat,
    width: u32,
    height: u32,
}

impl ImageData {
    /// An image of its content. Format, width and height are read from its header; whether the rest can be decoded is not looked at.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn new(content: impl Into<Bytes>) -> Result<Self, ImageFault> {
        let content = content.into();
        if content.is_empty() {
            return Err(ImageFault::Empty);
        }
        if content.len() > MAX_IMAGE_BYTES {
            return Err(ImageFault::TooLarge);
        }
        let Some(format) = ImageFormat::of(&content) else {
            return Err(match begins_as_encoded_image(&content) {
                true => ImageFault::Encoded,
                false => ImageFault::UnknownFormat,
            });
        };
        let size = imagesize::blob_size(&content).map_err(|_| ImageFault::Damaged)?;
        let pixels = |count: usize| u32::try_from(count).ok().filter(|count| *count > 0);
        match (pixels(size.width), pixels(size.height)) {
            (Some(width), Some(height)) => Ok(Self {
                content,
                format,
                width,
                height,
            }),
            (None, _) | (_, None) => Err(ImageFault::Damaged),
        }
    }

    /// An image of its content in base64, which may be broken into lines.
    ///
    /// # Errors
    /// If it is not base64, or what it encodes cannot be sent.
    pub fn from_base64(text: &str) -> Result<Self, ImageFault> {
        let text: String = text.split_ascii_whitespace().collect();
        match STANDARD.decode(text) {
            Ok(content) => Self::new(content),
            Err(_) => Err(ImageFault::NotBase64),
        }
    }

    /// Its content.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Its format.
    pub fn format(&self) -> ImageFormat {
        self.format
    }

    /// Its width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Its height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// What tells it from every other image.
    pub fn digest(&self) -> ImageDigest {
        ImageDigest::of(b"data", &self.content)
    }
}

impl fmt::Debug for ImageData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageData")
            .field("format", &self.format)
            .field("width", &self.width)
            .field("height", &self.height)
            .field("bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

fn begins_as_encoded_image(content: &[u8]) -> bool {
    let beginning: Vec<u8> = content
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .take(SIGNATURE_CHARACTERS)
        .collect();
    let decoded = STANDARD.decode(beginning);
    decoded.is_ok_and(|decoded| ImageFormat::of(&decoded).is_some())
}

/// Why an image cannot be sent. Reads on from "the image NAME".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageFault {
    /// There is nothing.
    #[error("is empty: put a png, jpeg, gif or webp there")]
    Empty,
    /// More than [`MAX_IMAGE_BYTES`].
    #[error("is larger than {} MB: use a smaller one", MAX_IMAGE_BYTES / 1_000_000)]
    TooLarge,
    /// It does not begin like any format that is taken.
    #[error("is no png, jpeg, gif or webp: convert it to one of them")]
    UnknownFormat,
    /// It is an image in base64, where the image itself must stand.
    #[error(
        "is base64 text where the image itself must be: it was encoded once too often (put it under data instead of stringData, or use kubectl create --from-file)"
    )]
    Encoded,
    /// A text that is not base64.
    #[error(
        "is text that is not base64: put the image under binaryData (kubectl create configmap --from-file does)"
    )]
    NotBase64,
    /// It begins like an image, but its width and height cannot be read, or are 0.
    #[error("is damaged: its width and height cannot be read")]
    Damaged,
}

/// What tells an image from every other one, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageDigest(pub(super) [u8; 32]);

impl ImageDigest {
    /// Of an image that the provider reads from this URL.
    pub fn of_url(url: &str) -> Self {
        Self::of(b"url:", url.as_bytes())
    }

    /// `kind` keeps the address of an image and its content apart.
    fn of(kind: &[u8; 4], value: &[u8]) -> Self {
        Self(
            Sha256::new()
                .chain_update(kind)
                .chain_update(value)
                .finalize()
                .into(),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// 1 × 1 pixels each.
    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    const GIF: &str = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
    const WEBP: &str = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==";
    const JPEG: &str = "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA=";

    fn decoded(text: &str) -> Vec<u8> {
        STANDARD.decode(text).unwrap()
    }

    #[test]
    fn each_format_is_known_by_its_beginning_and_measured() {
        for (text, media_type) in [
            (PNG, "image/png"),
            (GIF, "image/gif"),
            (WEBP, "image/webp"),
            (JPEG, "image/jpeg"),
        ] {
            let image = ImageData::new(decoded(text)).unwrap();
            assert_eq!(image.format().media_type(), media_type);
            assert_eq!((image.width(), image.height()), (1, 1), "{media_type}");
            assert_eq!(image.content(), decoded(text));
            let (one, rest) = text.split_at(20);
            let lines = format!("{one}\n  {rest}\n");
            assert_eq!(ImageData::from_base64(&lines), Ok(image), "{media_type}");
        }
        let mut wide = decoded(PNG);
        wide.splice(16..24, [0, 0, 7, 128, 0, 0, 4, 56]);
        let wide = ImageData::new(wide).unwrap();
        assert_eq!((wide.width(), wide.height()), (1920, 1080));
    }

    #[test]
    fn what_cannot_be_sent_says_why() {
        let mut flat = decoded(PNG);
        flat.splice(16..20, [0; 4]);
        let mut large = decoded(PNG);
        large.resize(MAX_IMAGE_BYTES + 1, 0);
        for (content, fault) in [
            (Vec::new(), ImageFault::Empty),
            (large, ImageFault::TooLarge),
            (b"%PDF-1.7 and so on".to_vec(), ImageFault::UnknownFormat),
            (
                b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
                ImageFault::UnknownFormat,
            ),
            (
                b"BM6\0\0\0\0\0\0\0\x36\0\0\0".to_vec(),
                ImageFault::UnknownFormat,
            ),
            (PNG.as_bytes().to_vec(), ImageFault::Encoded),
            (JPEG.as_bytes().to_vec(), ImageFault::Encoded),
            (
                decoded(PNG).into_iter().take(18).collect(),
                ImageFault::Damaged,
            ),
            (
                decoded(JPEG).into_iter().take(40).collect(),
                ImageFault::Damaged,
            ),
            (flat, ImageFault::Damaged),
        ] {
            assert_eq!(ImageData::new(content), Err(fault));
        }
        for (text, fault) in [
            ("not base64!", ImageFault::NotBase64),
            ("", ImageFault::Empty),
            ("aGVsbG8gd29ybGQ=", ImageFault::UnknownFormat),
        ] {
            assert_eq!(ImageData::from_base64(text), Err(fault), "{text}");
        }
        let largest = {
            let mut content = decoded(PNG);
            content.resize(MAX_IMAGE_BYTES, 0);
            ImageData::new(content)
        };
        assert!(largest.is_ok());
    }

    #[test]
    fn the_content_is_not_shown_where_the_image_is() {
        let image = Image::Data(ImageData::new(decoded(PNG)).unwrap());
        let shown = format!("{image:?}");
        assert!(shown.contains("bytes: 70"), "{shown}");
        for content in [
            format!("{:?}", decoded(PNG)),
            PNG.to_owned(),
            "137".to_owned(),
        ] {
            assert!(!shown.contains(&content), "{shown}");
        }
    }

    proptest! {
        /// Whatever stands behind the signature is an image or a refusal.
        #[test]
        fn no_content_breaks_the_reading(
            begins in prop::sample::select(vec![PNG, GIF, WEBP, JPEG]),
            kept in 0_usize..64,
            rest in prop::collection::vec(any::<u8>(), 0..256),
        ) {
            let content: Vec<u8> = decoded(begins).into_iter().take(kept).chain(rest).collect();
            if let Ok(image) = ImageData::new(content) {
                prop_assert!(image.width() > 0 && image.height() > 0);
            }
        }
    }
}
