package main

// Example runs on whatever device there is, or on the CPU.
func Example() {
	main()
	// Output: 183 tokens of 3 sequences in 6 pages, 3 of them shared
}
