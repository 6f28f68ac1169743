// Calls the operations that Debian's AWS SDK for Go 2 has (instances and tags, but not email
// addresses, which are newer), configured only by its usual environment variables. Prints the number of checks that passed.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/connect"
	"github.com/aws/aws-sdk-go-v2/service/connect/types"
)

var passed int

func check(isTrue bool, what string) {
	if !isTrue {
		log.Fatal("check failed: ", what)
	}
	passed++
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	ctx := context.Background()
	loaded, err := config.LoadDefaultConfig(ctx)
	must(err)
	client := connect.NewFromConfig(loaded, connect.WithEndpointResolver(connect.EndpointResolverFromURL(endpoint())))

	made, err := client.CreateInstance(ctx, &connect.CreateInstanceInput{
		IdentityManagementType: types.DirectoryTypeConnectManaged,
		InstanceAlias:          aws.String("from-go"),
		InboundCallsEnabled:    aws.Bool(true),
		OutboundCallsEnabled:   aws.Bool(false),
	})
	must(err)
	described, err := client.DescribeInstance(ctx, &connect.DescribeInstanceInput{InstanceId: made.Id})
	must(err)
	check(*described.Instance.InstanceAlias == "from-go", "the alias of the instance")
	check(!described.Instance.CreatedTime.IsZero(), "the time of its creation")

	seen := false
	pages := connect.NewListInstancesPaginator(client, &connect.ListInstancesInput{MaxResults: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		must(err)
		for _, instance := range page.InstanceSummaryList {
			seen = seen || *instance.Id == *made.Id
		}
	}
	check(seen, "the instance is listed")

	_, err = client.TagResource(ctx, &connect.TagResourceInput{ResourceArn: made.Arn, Tags: map[string]string{"a": "b", "c": "d"}})
	must(err)
	_, err = client.UntagResource(ctx, &connect.UntagResourceInput{ResourceArn: made.Arn, TagKeys: []string{"a"}})
	must(err)
	tags, err := client.ListTagsForResource(ctx, &connect.ListTagsForResourceInput{ResourceArn: made.Arn})
	must(err)
	check(len(tags.Tags) == 1 && tags.Tags["c"] == "d", "the tags")

	_, err = client.DeleteInstance(ctx, &connect.DeleteInstanceInput{InstanceId: made.Id})
	must(err)
	_, err = client.DescribeInstance(ctx, &connect.DescribeInstanceInput{InstanceId: made.Id})
	var missing *types.ResourceNotFoundException
	check(errors.As(err, &missing) && missing.ErrorMessage() != "", "a deleted instance is ResourceNotFoundException")
	fmt.Println(passed, "checks passed")
}
