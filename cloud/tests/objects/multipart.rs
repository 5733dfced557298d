//! Multipart uploads, and bodies larger than memory should hold.

use aws_sdk_s3::{
    Client,
    config::RequestChecksumCalculation,
    error::SdkError,
    operation::complete_multipart_upload::CompleteMultipartUploadError,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart},
};
use store::objects::PutOptions;

use crate::{
    cases::{Place, cases},
    fixture::{BUCKET, Running, sdk},
};

cases![
    parts_become_one_object,
    one_part_can_be_read,
    a_completion_is_refused_without_its_parts,
    a_completion_names_parts_in_order,
    a_completion_may_be_asked_again,
    parts_and_uploads_are_listed,
    checksums_of_multipart_objects,
    an_aborted_upload_leaves_nothing,
    parts_can_be_copied,
    a_completion_can_be_conditional,
    a_multipart_object_can_be_copied,
    parts_in_the_middle_have_a_least_length,
];

const PART: usize = 5 << 20;

fn bytes(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

async fn begin(sdk: &Client, key: &str) -> String {
    let begun = sdk.create_multipart_upload().bucket(BUCKET).key(key).content_type("video/mp4").metadata("n", "1");
    begun.send().await.unwrap().upload_id().unwrap().to_owned()
}

async fn part(sdk: &Client, key: &str, id: &str, number: i32, body: Vec<u8>) -> CompletedPart {
    let sent = sdk.upload_part().bucket(BUCKET).key(key).upload_id(id).part_number(number).body(ByteStream::from(body));
    let sent = sent.send().await.unwrap();
    CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build()
}

fn parts(parts: Vec<CompletedPart>) -> CompletedMultipartUpload {
    CompletedMultipartUpload::builder().set_parts(Some(parts)).build()
}

fn code(error: &SdkError<CompleteMultipartUploadError>) -> &str {
    error.as_service_error().unwrap().meta().code().unwrap_or_default()
}

async fn parts_become_one_object(place: Place) {
    for checksums in [RequestChecksumCalculation::WhenSupported, RequestChecksumCalculation::WhenRequired] {
        let sdk = sdk(place.port, checksums);
        let id = begin(&sdk, "big").await;
        // Out of order, one twice, one that is not chosen.
        let second = part(&sdk, "big", &id, 2, bytes(2, PART + 3)).await;
        part(&sdk, "big", &id, 1, bytes(9, PART)).await;
        let first = part(&sdk, "big", &id, 1, bytes(1, PART)).await;
        part(&sdk, "big", &id, 3, bytes(8, 10)).await;
        let last = part(&sdk, "big", &id, 7, bytes(3, 100)).await;
        let complete = sdk.complete_multipart_upload().bucket(BUCKET).key("big").upload_id(&id);
        let done = complete.multipart_upload(parts(vec![first, second, last])).send().await.unwrap();
        assert!(done.e_tag().unwrap().ends_with("-3\""), "{:?}", done.e_tag());
        let whole = [bytes(1, PART), bytes(2, PART + 3), bytes(3, 100)].concat();
        let objects = place.objects();
        assert_eq!(objects.get("big").await.unwrap(), whole);
        let across = (PART - 5) as u64..(2 * PART + 10) as u64;
        let expected = &whole[across.start as usize..across.end as usize];
        assert_eq!(objects.get_range("big", across).await.unwrap(), expected);
        let head = objects.head("big").await.unwrap();
        assert_eq!((head.content_type.as_deref(), head.metadata["n"].as_str()), (Some("video/mp4"), "1"));
        // Parts that were replaced or not chosen are removed.
        place.assert_bodies(3);
    }
}

/// An object of two parts; these, as they are named to complete it.
async fn two_parts(sdk: &Client, key: &str) -> (String, Vec<CompletedPart>) {
    let id = begin(sdk, key).await;
    let both = vec![part(sdk, key, &id, 1, bytes(1, PART)).await, part(sdk, key, &id, 2, bytes(2, PART)).await];
    (id, both)
}

async fn one_part_can_be_read(place: Place) {
    let sdk = place.sdk();
    let (id, both) = two_parts(&sdk, "k").await;
    let complete = sdk.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(&id);
    complete.multipart_upload(parts(both)).send().await.unwrap();
    let second = sdk.get_object().bucket(BUCKET).key("k").part_number(2).send().await.unwrap();
    assert_eq!((second.parts_count(), second.content_length()), (Some(2), Some(PART as i64)));
    assert_eq!(second.body.collect().await.unwrap().to_vec(), bytes(2, PART));
}

async fn a_completion_names_parts_in_order(place: Place) {
    let sdk = place.sdk();
    let (id, mut both) = two_parts(&sdk, "k").await;
    both.reverse();
    let complete = sdk.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(&id);
    let error = complete.multipart_upload(parts(both)).send().await.unwrap_err();
    assert_eq!(code(&error), "InvalidPartOrder");
}

async fn a_completion_is_refused_without_its_parts(place: Place) {
    let sdk = place.sdk();
    let id = begin(&sdk, "k").await;
    let first = part(&sdk, "k", &id, 1, bytes(1, PART)).await;
    let second = part(&sdk, "k", &id, 2, bytes(2, 10)).await;
    let wrong = CompletedPart::builder().part_number(2).e_tag("\"00000000000000000000000000000000\"").build();
    let absent = CompletedPart::builder().part_number(9).set_e_tag(second.e_tag.clone()).build();
    for (chosen, refused) in [
        (vec![first.clone(), wrong], "InvalidPart"),
        (vec![first.clone(), absent], "InvalidPart"),
        (vec![], "MalformedXML"),
    ] {
        let complete = sdk.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(&id);
        let error = complete.multipart_upload(parts(chosen)).send().await.unwrap_err();
        assert_eq!(code(&error), refused);
    }
    // The upload is still there.
    let complete = sdk.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(&id);
    complete.multipart_upload(parts(vec![first, second])).send().await.unwrap();
}

/// The answer may have been lost: the same again is answered the same.
async fn a_completion_may_be_asked_again(place: Place) {
    let sdk = place.sdk();
    let id = begin(&sdk, "k").await;
    let only = part(&sdk, "k", &id, 1, bytes(1, 10)).await;
    let complete = || sdk.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(&id);
    let done = complete().multipart_upload(parts(vec![only.clone()])).send().await.unwrap();
    let again = complete().multipart_upload(parts(vec![only])).send().await.unwrap();
    assert_eq!(again.e_tag(), done.e_tag());
}

async fn parts_and_uploads_are_listed(place: Place) {
    let sdk = place.sdk();
    let id = begin(&sdk, "k").await;
    for number in [7, 2, 1, 3] {
        part(&sdk, "k", &id, number, bytes(number as u8, 10)).await;
    }
    let list = || sdk.list_parts().bucket(BUCKET).key("k").upload_id(&id);
    let listed = list().max_parts(3).send().await.unwrap();
    let numbers: Vec<_> = listed.parts().iter().map(|p| p.part_number().unwrap()).collect();
    assert_eq!((numbers.as_slice(), listed.is_truncated()), (&[1, 2, 3][..], Some(true)));
    let rest = list().part_number_marker(listed.next_part_number_marker().unwrap()).send().await.unwrap();
    assert_eq!(rest.parts()[0].part_number(), Some(7));
    let uploads = sdk.list_multipart_uploads().bucket(BUCKET).send().await.unwrap();
    assert_eq!(uploads.uploads()[0].upload_id(), Some(id.as_str()));
    assert_eq!(uploads.uploads().len(), 1);
}

async fn checksums_of_multipart_objects(place: Place) {
    let sdk = place.sdk();
    for (algorithm, kind) in [
        (ChecksumAlgorithm::Sha256, ChecksumType::Composite),
        (ChecksumAlgorithm::Crc32, ChecksumType::Composite),
        (ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject),
        (ChecksumAlgorithm::Crc32C, ChecksumType::FullObject),
    ] {
        let begun = sdk.create_multipart_upload().bucket(BUCKET).key("k");
        let begun = begun.checksum_algorithm(algorithm.clone()).checksum_type(kind.clone()).send().await.unwrap();
        let id = begun.upload_id().unwrap();
        let mut chosen = Vec::new();
        for (number, length) in [(1, PART), (2, 7)] {
            let sent = sdk.upload_part().bucket(BUCKET).key("k").upload_id(id).part_number(number);
            let sent = sent.checksum_algorithm(algorithm.clone()).body(ByteStream::from(bytes(number as u8, length)));
            let sent = sent.send().await.unwrap();
            let part = CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag)
                .set_checksum_sha256(sent.checksum_sha256)
                .set_checksum_crc32(sent.checksum_crc32)
                .set_checksum_crc32_c(sent.checksum_crc32_c)
                .set_checksum_crc64_nvme(sent.checksum_crc64_nvme);
            chosen.push(part.build());
        }
        let complete = sdk.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(id);
        let done = complete.multipart_upload(parts(chosen)).send().await.unwrap();
        assert_eq!(done.checksum_type(), Some(&kind));
        // The SDK verifies a whole object's checksum while it reads.
        let got = sdk.get_object().bucket(BUCKET).key("k").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
        assert_eq!(got.checksum_type(), Some(&kind));
        let whole = got.body.collect().await.unwrap().to_vec();
        assert_eq!(whole, [bytes(1, PART), bytes(2, 7)].concat());
    }
}

async fn an_aborted_upload_leaves_nothing(place: Place) {
    let sdk = place.sdk();
    let id = begin(&sdk, "gone").await;
    part(&sdk, "gone", &id, 1, bytes(1, 10)).await;
    sdk.abort_multipart_upload().bucket(BUCKET).key("gone").upload_id(&id).send().await.unwrap();
    let error = sdk.list_parts().bucket(BUCKET).key("gone").upload_id(&id).send().await.unwrap_err();
    assert_eq!(error.as_service_error().unwrap().meta().code(), Some("NoSuchUpload"));
    place.assert_bodies(0);
}

async fn parts_can_be_copied(place: Place) {
    let (sdk, objects) = (place.sdk(), place.objects());
    objects.put("source", bytes(4, PART + 100), PutOptions::default()).await.unwrap();
    let id = begin(&sdk, "assembled").await;
    let mut chosen = Vec::new();
    for (number, range) in [(1, Some(format!("bytes=100-{}", PART + 99))), (2, None)] {
        let copied = sdk.upload_part_copy().bucket(BUCKET).key("assembled").upload_id(&id).part_number(number);
        let copied = copied.copy_source(format!("{BUCKET}/source")).set_copy_source_range(range).send().await.unwrap();
        let etag = copied.copy_part_result().unwrap().e_tag().unwrap();
        chosen.push(CompletedPart::builder().part_number(number).e_tag(etag).build());
    }
    let complete = sdk.complete_multipart_upload().bucket(BUCKET).key("assembled").upload_id(&id);
    complete.multipart_upload(parts(chosen)).send().await.unwrap();
    let source = bytes(4, PART + 100);
    assert_eq!(objects.get("assembled").await.unwrap(), [&source[100..], &source[..]].concat());
}

async fn a_completion_can_be_conditional(place: Place) {
    let (sdk, objects) = (place.sdk(), place.objects());
    let id = begin(&sdk, "k").await;
    let only = part(&sdk, "k", &id, 1, bytes(1, 10)).await;
    let complete = || {
        let complete = sdk.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(&id);
        complete.if_none_match("*").multipart_upload(parts(vec![only.clone()]))
    };
    objects.put("k", &b"there"[..], PutOptions::default()).await.unwrap();
    assert_eq!(complete().send().await.unwrap_err().raw_response().unwrap().status().as_u16(), 412);
    assert_eq!(objects.get("k").await.unwrap().as_ref(), b"there");
    objects.delete("k").await.unwrap();
    complete().send().await.unwrap();
    assert_eq!(objects.get("k").await.unwrap(), bytes(1, 10));
}

async fn a_multipart_object_can_be_copied(place: Place) {
    let (sdk, objects) = (place.sdk(), place.objects());
    let (id, both) = two_parts(&sdk, "k").await;
    let complete = sdk.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(&id);
    complete.multipart_upload(parts(both)).send().await.unwrap();
    objects.copy("k", "again").await.unwrap();
    objects.delete("k").await.unwrap();
    assert_eq!(objects.get("again").await.unwrap(), [bytes(1, PART), bytes(2, PART)].concat());
}

async fn parts_in_the_middle_have_a_least_length(place: Place) {
    let sdk = place.sdk();
    let id = begin(&sdk, "small").await;
    let small = [part(&sdk, "small", &id, 1, bytes(1, 10)).await, part(&sdk, "small", &id, 2, bytes(1, 10)).await];
    let complete = sdk.complete_multipart_upload().bucket(BUCKET).key("small").upload_id(&id);
    let error = complete.multipart_upload(parts(small.into())).send().await.unwrap_err();
    assert_eq!(code(&error), "EntityTooSmall");
}

/// 200 MiB up and down; client and server share this process.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_need_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    let (up, down) = (folder.path().join("up"), folder.path().join("down"));
    std::fs::File::create(&up).unwrap().set_len(200 << 20).unwrap();
    let before = peak_bytes();
    server.objects().put_file("large", &up, PutOptions::default()).await.unwrap();
    assert_eq!(server.objects().get_file("large", &down).await.unwrap(), 200 << 20);
    let grown = peak_bytes() - before;
    assert!(grown < 48 << 20, "peak memory grew by {} MiB", grown >> 20);
    server.stop().await;
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}
