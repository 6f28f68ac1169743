package main

import "os"

// This version of the SDK does not read the variable itself.
func endpoint() string { return os.Getenv("AWS_ENDPOINT_URL_CONNECT") }
