use proptest::prelude::*;

use super::*;

fn text() -> Vec<u8> {
    (0..200_000u32).flat_map(|i| (i / 7).to_be_bytes()).collect()
}

/// The levels that topics may ask for, coarsely.
fn specs() -> Vec<CompressionSpec> {
    let levels = |codec, levels: &[i32]| {
        levels.iter().map(|level| CompressionSpec { codec, level: Some(*level) }).collect::<Vec<_>>()
    };
    let mut specs: Vec<CompressionSpec> = Compression::ALL.into_iter().map(CompressionSpec::from).collect();
    specs.extend(levels(Compression::Gzip, &[1, 9]));
    specs.extend(levels(Compression::Lz4, &[1, 4, 9, 12, 17]));
    specs.extend(levels(Compression::Zstd, &[-5, 1, 19]));
    specs
}

#[test]
fn every_codec_reads_what_it_wrote_at_every_level() {
    for spec in specs() {
        for bytes in [Vec::new(), b"a".to_vec(), vec![7; 300], text()] {
            let packed = spec.compress(&bytes).unwrap();
            assert_eq!(spec.codec.decompress(&packed, bytes.len()).unwrap(), bytes, "{spec:?}");
        }
    }
}

#[test]
fn growing_beyond_the_limit_is_refused_by_every_codec() {
    let bytes = text();
    for codec in Compression::ALL {
        let packed = CompressionSpec::from(codec).compress(&bytes).unwrap();
        let error = codec.decompress(&packed, bytes.len() - 1).unwrap_err();
        assert!(matches!(error, CompressionError::TooLarge { .. }), "{codec}: {error}");
    }
}

#[test]
fn damaged_bytes_are_an_error_of_every_codec() {
    for codec in Compression::ALL.into_iter().skip(1) {
        let error = codec.decompress(b"\xffthis is no compressed data", 1 << 20).unwrap_err();
        assert!(matches!(error, CompressionError::Damaged { .. } | CompressionError::TooLarge { .. }), "{codec}");
        let packed = CompressionSpec::from(codec).compress(&text()).unwrap();
        codec.decompress(&packed[..packed.len() / 2], 1 << 30).unwrap_err();
    }
}

#[test]
fn higher_levels_pack_tighter() {
    let mut bytes = text();
    bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= (at / 97 % 5) as u8);
    let packed = |codec, level| CompressionSpec { codec, level: Some(level) }.compress(&bytes).unwrap().len();
    assert!(packed(Compression::Gzip, 9) < packed(Compression::Gzip, 1));
    assert!(packed(Compression::Zstd, 19) < packed(Compression::Zstd, -5));
    assert!(packed(Compression::Lz4, 17) < packed(Compression::Lz4, 1));
    assert!(packed(Compression::Lz4, 17) < packed(Compression::Lz4, lz4::DEFAULT_LEVEL), "the default is the fast one");
}

#[test]
fn lz4_is_written_in_independent_blocks_of_64_kib_because_java_reads_no_others() {
    for level in [None, Some(12)] {
        let packed = CompressionSpec { codec: Compression::Lz4, level }.compress(&text()).unwrap();
        assert_eq!(packed[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82], "{level:?}");
        assert_eq!(packed[packed.len() - 4..], [0; 4], "{level:?}");
    }
}

#[test]
fn checksums_of_lz4_blocks_and_contents_are_checked() {
    let info = lz4_flex::frame::FrameInfo::new().block_checksums(true).content_checksum(true);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(&text()).unwrap();
    let packed = encoder.finish().unwrap();
    assert_eq!(Compression::Lz4.decompress(&packed, 1 << 20).unwrap(), text());
    let mut damaged = packed.clone();
    let checksum_of_contents = damaged.len() - 1;
    damaged[checksum_of_contents] ^= 1;
    assert!(matches!(Compression::Lz4.decompress(&damaged, 1 << 20), Err(CompressionError::Damaged { .. })));
    let mut damaged = packed;
    damaged[500] ^= 1;
    assert!(matches!(Compression::Lz4.decompress(&damaged, 1 << 20), Err(CompressionError::Damaged { .. })));
}

#[test]
fn raw_snappy_is_read_too() {
    let packed = snap::raw::Encoder::new().compress_vec(&text()).unwrap();
    assert_eq!(Compression::Snappy.decompress(&packed, 1 << 20).unwrap(), text());
}

#[test]
fn framed_snappy_of_a_later_format_is_refused() {
    let mut packed = CompressionSpec::from(Compression::Snappy).compress(b"abc").unwrap();
    assert!(packed.starts_with(b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"), "Xerial's header");
    packed[15] = 2;
    assert!(matches!(Compression::Snappy.decompress(&packed, 1 << 20), Err(CompressionError::Damaged { .. })));
}

#[test]
fn snappy_that_claims_gigabytes_takes_no_memory_for_them() {
    let claims = [0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
    let error = Compression::Snappy.decompress(&claims, usize::MAX >> 1).unwrap_err();
    assert!(matches!(error, CompressionError::Damaged { .. }), "{error}");
}

#[test]
fn names_of_codecs_are_those_of_the_configuration() {
    for codec in Compression::ALL {
        assert_eq!(Compression::from_name(codec.name()), Some(codec));
        assert_eq!(Compression::from_id(codec as u8), Some(codec));
    }
    assert_eq!(Compression::from_name("uncompressed"), Some(Compression::None));
    assert_eq!(Compression::from_name("brotli"), None);
    assert_eq!(Compression::from_id(5), None);
}

proptest! {
    #[test]
    fn high_lz4_is_read_by_another_implementation(
        pieces in prop::collection::vec((prop::collection::vec(0u8..4, 1..40), 1usize..80), 0..60),
        level in 1i32..=17,
    ) {
        let bytes: Vec<u8> = pieces.iter().flat_map(|(piece, times)| piece.repeat(*times)).collect();
        let packed = CompressionSpec { codec: Compression::Lz4, level: Some(level) }.compress(&bytes).unwrap();
        prop_assert_eq!(Compression::Lz4.decompress(&packed, bytes.len()).unwrap(), bytes);
    }
}
