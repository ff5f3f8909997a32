// What solutions import, so that go's build cache holds it vetted and compiled: see go.py.
package usual_test

import (
    _ "bytes"
    _ "container/heap"
    _ "crypto/md5"
    _ "errors"
    _ "fmt"
    _ "math"
    _ "math/big"
    _ "math/rand"
    _ "reflect"
    _ "regexp"
    _ "sort"
    _ "strconv"
    _ "strings"
    _ "testing"
    _ "time"
    _ "unicode"
)
