// This module takes the place of a cloud's SDK, which flanneld imports for a backend that no lab uses. See v20170312.
module github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/vpc

go 1.26.0
