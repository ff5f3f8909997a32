// The library that HumanEval-X tests with, where it is installed: see go.py.
package testify_test

import (
    "testing"

    "github.com/stretchr/testify/assert"
)

func TestAssert(t *testing.T) {
    assert.New(t).Equal(3, 1+2)
}
