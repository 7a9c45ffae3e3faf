module github.com/cairnfile/cairn/readers/go

go 1.19
