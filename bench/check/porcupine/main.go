// Measures Porcupine on histories of a compare-and-set register, reading not counted, on one thread.
//
//	porcupine ROUNDS SECONDS FILE...
//
// Prints a line a file: its name, the median of the rounds in microseconds, the verdict. One line more tells the most
// memory that the process held.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

type input struct {
	op       uint8 // 0 read, 1 write, 2 compare-and-set
	old, new int
}

type output struct {
	fits, known bool
	value       int
}

const absent = -1000000

var model = porcupine.Model{
	Init: func() interface{} { return absent },
	Step: func(state, in, out interface{}) (bool, interface{}) {
		value, ask, heard := state.(int), in.(input), out.(output)
		switch ask.op {
		case 0:
			return !heard.known || heard.value == value, value
		case 1:
			return true, ask.new
		}
		fits := value == ask.old
		if fits {
			return !heard.known || heard.fits, ask.new
		}
		return !heard.known || !heard.fits, value
	},
}

func number(word string) int {
	if word == "nil" {
		return absent
	}
	n, err := strconv.Atoi(word)
	if err != nil {
		panic(err)
	}
	return n
}

// read reads lines of a log: a process, a type, a function, a value. What never returns returns at the end, knowing nothing.
func read(path string) []porcupine.Event {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	var events []porcupine.Event
	open := map[int]int{}
	ids := 0
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		words := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(lines.Text()))
		at := 0
		for at < len(words) && words[at] != ":invoke" && words[at] != ":ok" && words[at] != ":fail" && words[at] != ":info" {
			at++
		}
		if at == 0 || at+1 >= len(words) {
			continue
		}
		process, err := strconv.Atoi(words[at-1])
		if err != nil {
			continue
		}
		kind, f, values := words[at], words[at+1], words[at+2:]
		if kind == ":invoke" {
			ask := input{}
			switch f {
			case ":write":
				ask = input{op: 1, new: number(values[0])}
			case ":cas":
				ask = input{op: 2, old: number(values[0]), new: number(values[1])}
			}
			open[process] = ids
			events = append(events, porcupine.Event{Kind: porcupine.CallEvent, Value: ask, Id: ids})
			ids++
			continue
		}
		id := open[process]
		if kind == ":info" || (kind == ":fail" && f == ":read") {
			if kind == ":fail" {
				// A read that failed tells nothing, and may be anywhere.
				events = append(events, porcupine.Event{Kind: porcupine.ReturnEvent, Value: output{}, Id: id})
				delete(open, process)
			}
			continue
		}
		heard := output{known: true, fits: kind == ":ok"}
		if f == ":read" {
			heard.value = number(values[0])
		}
		events = append(events, porcupine.Event{Kind: porcupine.ReturnEvent, Value: heard, Id: id})
		delete(open, process)
	}
	for _, id := range open {
		events = append(events, porcupine.Event{Kind: porcupine.ReturnEvent, Value: output{}, Id: id})
	}
	return events
}

func main() {
	runtime.GOMAXPROCS(1)
	rounds, _ := strconv.Atoi(os.Args[1])
	seconds, _ := strconv.Atoi(os.Args[2])
	for _, path := range os.Args[3:] {
		events := read(path)
		var times []time.Duration
		verdict := porcupine.Unknown
		for round := 0; round < rounds; round++ {
			began := time.Now()
			verdict = porcupine.CheckEventsTimeout(model, events, time.Duration(seconds)*time.Second)
			times = append(times, time.Since(began))
			if times[0] > 5*time.Second {
				break
			}
		}
		sort.Slice(times, func(a, b int) bool { return times[a] < times[b] })
		word := map[porcupine.CheckResult]string{porcupine.Ok: "holds", porcupine.Illegal: "violated", porcupine.Unknown: "unknown"}[verdict]
		fmt.Printf("%s %.1f %s\n", path, float64(times[len(times)/2].Nanoseconds())/1000, word)
	}
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			fmt.Println("most_kib", strings.Fields(line)[1])
		}
	}
}
