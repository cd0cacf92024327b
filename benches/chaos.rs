//! What the chaos overlay costs: the same program without it, with it asleep, and with it awake, each in turn.
//!
//! ```text
//! cargo bench --bench chaos
//! ```
//!
//! `work` is like a controller's: items go through a queue to workers that look them up, write them as JSON, and keep
//! them. The others do nothing but one operation. Each figure is the ratio of the processor times of two runs that followed each other.

#[expect(dead_code, reason = "the other benchmarks need more of it")]
mod common;

use std::path::Path;
use std::process::Command;

use common::{run, table};

const ROUNDS: usize = 41;

const PROGRAM: &str = r#"package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"syscall"
)

type item struct {
	Name   string
	Number int
	Labels map[string]string
}

func work() {
	items, results := make(chan item, 16), make(chan []byte, 16)
	var kept sync.Map
	var names sync.RWMutex
	known := map[string]int{}
	var workers sync.WaitGroup
	for range 4 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for one := range items {
				names.RLock()
				one.Number += known[one.Name]
				names.RUnlock()
				text, _ := json.Marshal(one)
				names.Lock()
				known[one.Name]++
				names.Unlock()
				kept.Store(one.Name, text)
				results <- text
			}
		}()
	}
	go func() {
		for n := range 20000 {
			items <- item{fmt.Sprint("machine-", n%100), n, map[string]string{"zone": "a", "role": "worker"}}
		}
		close(items)
		workers.Wait()
		close(results)
	}()
	for text := range results {
		var one item
		if err := json.Unmarshal(text, &one); err != nil {
			panic(err)
		}
	}
}

func times(n int, f func()) func() {
	return func() {
		for range n {
			f()
		}
	}
}

func main() {
	var mu sync.Mutex
	var rw sync.RWMutex
	buffered, plain, echo := make(chan int, 1), make(chan int), make(chan int)
	go func() {
		for n := range plain {
			echo <- n
		}
	}()
	parts := map[string]func(){
		"work":     work,
		"lock":     times(4000000, func() { mu.Lock(); mu.Unlock() }),
		"read":     times(4000000, func() { rw.RLock(); rw.RUnlock() }),
		"buffered": times(1000000, func() { buffered <- 1; <-buffered }),
		"hand-off": times(100000, func() { plain <- 1; <-echo }),
	}
	began := used()
	parts[os.Args[1]]()
	fmt.Println(used() - began)
}

// used is the processor time so far, in seconds.
func used() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
"#;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    std::fs::write(folder.join("main.go"), PROGRAM).expect("the program can be written");
    std::fs::write(folder.join("go.mod"), "module bench\n\ngo 1.24\n").expect("the module can be written");
    let overlay = folder.join("overlay");
    run(
        Command::new(env!("CARGO_BIN_EXE_rr-patch")).current_dir(folder).args(["chaos", "overlay", "-o"]).arg(&overlay),
        &[0],
    );
    let build = |name: &str, flags: &[&str]| {
        run(Command::new("go").current_dir(folder).args(["build", "-o", name]).args(flags).arg("."), &[0]);
    };
    let flag = format!("-overlay={}", overlay.join("overlay.json").display());
    build("plain", &[]);
    build("chaos", &[&flag]);

    for part in ["work", "lock", "read", "buffered", "hand-off"] {
        let mut ratios: [Vec<f64>; 3] = Default::default();
        let awake = |how| once(folder, "chaos", part, how);
        for round in 0..ROUNDS {
            // Whichever comes first may find the machine in another state.
            let (plain, asleep) = if round % 2 == 0 {
                let plain = once(folder, "plain", part, "");
                (plain, awake(""))
            } else {
                let asleep = awake("");
                (once(folder, "plain", part, ""), asleep)
            };
            ratios[0].push(asleep / plain);
            if round < ROUNDS / 4 {
                ratios[1].push(awake("1/4") / plain);
                ratios[2].push(awake("ranks") / plain);
            }
        }
        println!("{part}");
        let [asleep, even, ranks] = ratios;
        table([("  asleep / without", asleep), ("  1/4 / without", even), ("  ranks / without", ranks)]);
    }
}

/// The processor seconds that a part of the program takes: others that are busy here matter less to them than to a clock.
fn once(folder: &Path, program: &str, part: &str, how: &str) -> f64 {
    let (_, printed) = run(Command::new(folder.join(program)).arg(part).env("RR_PATCH_CHAOS", how), &[0]);
    String::from_utf8_lossy(&printed).trim().parse().expect("the program prints processor seconds")
}
