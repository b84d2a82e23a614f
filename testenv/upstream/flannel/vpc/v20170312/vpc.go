// Package v20170312 has the names of a cloud's API that flanneld's backend for it uses, and nothing behind them: every call fails.
package v20170312

import "errors"

var errNoCloud = errors.New("this flanneld was built without the cloud's SDK")

type (
	Client struct{}
	Filter struct {
		Name   *string
		Values []*string
	}
	Route struct {
		DestinationCidrBlock, GatewayType, GatewayId, RouteType *string
		Enabled                                                 *bool
		RouteId                                                 *uint64
	}
	RouteTable struct {
		RouteTableId *string
		RouteSet     []*Route
	}
	DescribeRouteTablesRequest  struct{ Filters []*Filter }
	DescribeRouteTablesResponse struct {
		Response *struct{ RouteTableSet []*RouteTable }
	}
	routesRequest struct {
		RouteTableId *string
		Routes       []*Route
	}
	routesResponse struct{}
)

func NewClientWithSecretId(_, _, _ string) (*Client, error) { return &Client{}, nil }

func NewDescribeRouteTablesRequest() *DescribeRouteTablesRequest {
	return &DescribeRouteTablesRequest{}
}
func NewCreateRoutesRequest() *routesRequest { return &routesRequest{} }
func NewDeleteRoutesRequest() *routesRequest { return &routesRequest{} }

func (*Client) DescribeRouteTables(*DescribeRouteTablesRequest) (*DescribeRouteTablesResponse, error) {
	return nil, errNoCloud
}
func (*Client) CreateRoutes(*routesRequest) (*routesResponse, error) { return nil, errNoCloud }
func (*Client) DeleteRoutes(*routesRequest) (*routesResponse, error) { return nil, errNoCloud }
