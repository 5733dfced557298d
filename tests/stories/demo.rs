//! The demo itself, with the usual ports taken: three cameras, three equal counts.

use std::{net::TcpListener, process::Command, time::Duration};

use world::{Process, runtime, story};

#[test]
fn the_demo_counts_the_same_three_times() {
    story(|_| {
        // Whoever has them, they are taken now.
        let _taken: Vec<_> =
            [1883, 8080, 9000].map(|port| TcpListener::bind(("127.0.0.1", port))).into_iter().collect();
        let mut command = Command::new(runtime::program("sightline-demo")?);
        let demo = Process::start("sightline-demo", command.env("DEMO_SECONDS", "6"))?;
        let ended = demo.ended(Duration::from_secs(120))?;
        let last = ended.stdout.lines().last().unwrap_or_default().to_owned();
        assert_eq!(ended.code, Some(0), "{}", ended.text());
        let numbers: Vec<u64> = last.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        let expected = format!("classified {0}, published {0}, archived {0}", numbers.first().copied().unwrap_or(0));
        assert!(last == expected && numbers[0] >= 3, "{last}");
        for words in ["http://127.0.0.1:", "mosquitto_sub", "rtsp://127.0.0.1:", "street", "bikes", "pictures"] {
            assert!(ended.stdout.contains(words), "no `{words}` in:\n{}", ended.stdout);
        }
        Ok(())
    });
}
