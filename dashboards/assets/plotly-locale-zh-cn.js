/* Chinese for plotly.js: dates on axes, the tool bar. Loaded after plotly-cartesian.min.js. */
window.Plotly && window.Plotly.register({
  moduleType: "locale",
  name: "zh-CN",
  dictionary: {
    "Autoscale": "自动缩放",
    "Double-click on legend to isolate one trace": "双击图例只看一条曲线",
    "Double-click to zoom back out": "双击还原",
    "Download plot as a PNG": "下载为 PNG",
    "Download plot": "下载图表",
    "Pan": "平移",
    "Reset": "重置",
    "Reset axes": "重置坐标轴",
    "Snapshot succeeded": "已生成图片",
    "Taking snapshot - this may take a few seconds": "正在生成图片，可能需要几秒",
    "Zoom": "缩放",
    "Zoom in": "放大",
    "Zoom out": "缩小"
  },
  format: {
    days: ["星期日", "星期一", "星期二", "星期三", "星期四", "星期五", "星期六"],
    shortDays: ["周日", "周一", "周二", "周三", "周四", "周五", "周六"],
    months: ["一月", "二月", "三月", "四月", "五月", "六月",
             "七月", "八月", "九月", "十月", "十一月", "十二月"],
    shortMonths: ["1月", "2月", "3月", "4月", "5月", "6月",
                  "7月", "8月", "9月", "10月", "11月", "12月"],
    year: "%Y年",
    month: "%Y年%-m月",
    dayMonth: "%-m月%-d日",
    dayMonthYear: "%-m月%-d日",
    date: "%Y-%m-%d",
    periods: ["上午", "下午"],
    dateTime: "%Y-%m-%d %H:%M",
    time: "%H:%M"
  }
});
