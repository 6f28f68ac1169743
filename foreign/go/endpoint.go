package main

import "os"

// endpoint returns the endpoint URL, because this version of the SDK does not read the environment variable itself.
func endpoint() string { return os.Getenv("AWS_ENDPOINT_URL_CONNECT") }
